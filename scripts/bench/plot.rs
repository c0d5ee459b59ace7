//! Plots as SVG, written by hand: a few lines over two axes, readable on light and dark pages.

use std::fmt::Write;

/// The size of the picture, and the box of the plot in it.
const SIZE: [f64; 2] = [640.0, 336.0];
const BOX: [f64; 4] = [62.0, 34.0, 626.0, 272.0];

/// Told apart without red and green (Okabe and Ito's palette).
const COLOURS: [&str; 6] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00",
];

/// What a plot shows.
pub struct Plot<'a> {
    /// Above it.
    pub title: &'a str,
    /// Below and beside it, with units.
    pub axes: [&'a str; 2],
    /// Which axes are logarithmic.
    pub logarithmic: [bool; 2],
    /// Mark the points.
    pub dots: bool,
    /// Names and points, the points in the order of the line.
    pub lines: Vec<(String, Vec<[f64; 2]>)>,
}

/// One axis: from values to pixels.
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    from: f64,
    to: f64,
}

impl Scale {
    fn new(
        values: impl Iterator<Item = f64> + Clone,
        logarithmic: bool,
        from: f64,
        to: f64,
    ) -> Scale {
        let high = values.clone().fold(f64::MIN, f64::max).max(1e-9);
        let least = values.filter(|v| *v > 0.0).fold(f64::MAX, f64::min);
        let (low, high) = if logarithmic {
            let low = least.min(high).max(1e-3);
            (
                10_f64.powf(low.log10().floor()),
                10_f64.powf(high.log10().ceil()),
            )
        } else {
            (0.0, high * 1.05)
        };
        Scale {
            low,
            high,
            logarithmic,
            from,
            to,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            let value = value.max(self.low);
            (value / self.low).ln() / (self.high / self.low).ln().max(1e-9)
        } else {
            value / self.high
        };
        self.from + part * (self.to - self.from)
    }

    /// Values worth a line across the plot.
    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let (first, last) = (self.low.log10().round(), self.high.log10().round());
            let count = (last - first) as i32;
            return (0..=count)
                .map(|n| 10_f64.powf(first + f64::from(n)))
                .collect();
        }
        let rough = self.high / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power);
        let step = step.into_iter().find(|s| *s >= rough).unwrap_or(power);
        let count = (self.high / step).floor() as i32;
        (0..=count).map(|n| step * f64::from(n)).collect()
    }
}

impl Plot<'_> {
    /// The picture.
    pub fn svg(&self) -> String {
        let [left, top, right, bottom] = BOX;
        let values = |axis: usize| {
            let points = self.lines.iter().flat_map(|line| &line.1);
            points.map(move |point| point[axis])
        };
        let x = Scale::new(values(0), self.logarithmic[0], left, right);
        let y = Scale::new(values(1), self.logarithmic[1], bottom, top);
        let [width, height] = SIZE;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\" fill=\"#808080\">\n"
        );
        let _ = writeln!(
            svg,
            "<text x=\"{left}\" y=\"18\" font-size=\"14\">{}</text>",
            escaped(self.title)
        );
        for tick in x.ticks() {
            let at = x.at(tick);
            let _ = writeln!(
                svg,
                "<path d=\"M{at:.1} {top}V{bottom}\" stroke=\"#80808040\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                short(tick)
            );
        }
        for tick in y.ticks() {
            let at = y.at(tick);
            let _ = writeln!(
                svg,
                "<path d=\"M{left} {at:.1}H{right}\" stroke=\"#80808040\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                at + 4.0,
                short(tick)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <text x=\"{right}\" y=\"18\" text-anchor=\"end\">{}</text>",
            bottom - 6.0,
            escaped(self.axes[0]),
            escaped(self.axes[1])
        );
        for (number, (name, points)) in self.lines.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let mut path = String::new();
            for point in points {
                let command = if path.is_empty() { 'M' } else { 'L' };
                let _ = write!(path, "{command}{:.1} {:.1}", x.at(point[0]), y.at(point[1]));
            }
            let _ = writeln!(
                svg,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>"
            );
            for point in points.iter().filter(|_| self.dots) {
                let (x, y) = (x.at(point[0]), y.at(point[1]));
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
                );
            }
            let at = left + 4.0 + 190.0 * f64::from(u32::try_from(number).unwrap_or(0) % 3);
            let row = f64::from(u32::try_from(number / 3).unwrap_or(0));
            let under = height - 24.0 + 15.0 * row;
            let _ = writeln!(
                svg,
                "<text x=\"{at}\" y=\"{under}\" fill=\"{colour}\">{}</text>",
                escaped(name)
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// Few digits.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", trimmed(v / 1e6)),
        v if v >= 1e3 => format!("{}k", trimmed(v / 1e3)),
        v => trimmed(v),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn points_lie_in_the_box_and_the_largest_is_at_the_top() {
        let plot = Plot {
            title: "a < b",
            axes: ["rows", "changes/s"],
            logarithmic: [true, false],
            dots: true,
            lines: vec![("zemi".into(), vec![[1e3, 5.0], [1e6, 100.0]])],
        };
        let svg = plot.svg();
        assert!(svg.contains("a &lt; b") && svg.contains(">1M<") && svg.contains(">100<"));
        let circles: Vec<f64> = svg
            .lines()
            .filter_map(|line| {
                line.strip_prefix("<circle cx=\"")?
                    .split('"')
                    .next()?
                    .parse()
                    .ok()
            })
            .collect();
        assert_eq!(circles, [BOX[0], BOX[2]]);
    }

    #[test]
    fn numbers_are_short() {
        let found = [0.0, 0.5, 20.0, 1500.0, 2e6].map(short);
        assert_eq!(found, ["0", "0.5", "20", "1.5k", "2M"]);
    }
}
