//! The paths of the two ports.

use std::net::IpAddr;
use std::sync::Arc;

use super::http::request::Request;
use super::http::response::Response;
use super::http::server::{self, Answer};
use super::metrics::Metrics;
use super::{health, prometheus, status};
use crate::config::Config;
use crate::error::Result;

/// Listens on the ports of the settings. False where the settings name none.
///
/// # Errors
/// [`crate::error::Kind::Setting`] for a port that cannot be listened on.
pub fn open(config: &Config, metrics: &Arc<Metrics>) -> Result<bool> {
    let health = config.health_port.map(|port| ("HEALTH_PORT", port));
    let counters = config.metrics_port.map(|port| ("METRICS_PORT", port));
    let address: IpAddr = config.http_bind;
    let settings = Arc::new(status::settings(config));
    let listen = |(name, port): (&str, u16), pages: Pages| {
        let (metrics, settings) = (Arc::clone(metrics), Arc::clone(&settings));
        let answer: Arc<Answer> =
            Arc::new(move |request: &Request| pages.answer(request, &metrics, &settings));
        server::start(name, address, port, answer)
    };
    match (health, counters) {
        (None, None) => return Ok(false),
        (Some(one), Some(other)) if one.1 == other.1 => listen(one, Pages::BOTH)?,
        (one, other) => {
            if let Some(one) = one {
                listen(one, Pages::HEALTH)?;
            }
            if let Some(other) = other {
                listen(other, Pages::METRICS)?;
            }
        }
    }
    Ok(true)
}

/// The pages that a port has.
#[derive(Debug, Clone, Copy)]
struct Pages {
    health: bool,
    metrics: bool,
}

impl Pages {
    const HEALTH: Pages = Pages {
        health: true,
        metrics: false,
    };
    const METRICS: Pages = Pages {
        health: false,
        metrics: true,
    };
    const BOTH: Pages = Pages {
        health: true,
        metrics: true,
    };

    fn answer(self, request: &Request, metrics: &Metrics, settings: &str) -> Response {
        let health =
            |good: bool| Response::json(if good { 200 } else { 503 }, health::body(metrics));
        match request.path.as_str() {
            "/" | "/healthz" | "/health" if self.health => health(metrics.is_alive()),
            "/readyz" | "/ready" if self.health => health(metrics.is_ready()),
            "/status" if self.health => status::page(),
            "/status.json" if self.health => Response::json(200, status::body(metrics, settings)),
            "/metrics" if self.metrics => Response {
                status: 200,
                content_type: prometheus::CONTENT_TYPE,
                body: prometheus::page(metrics),
            },
            // The answer of the Zig program.
            "/" if self.metrics => Response::text(200, "ok"),
            _ => Response::text(404, self.index()),
        }
    }

    fn index(self) -> &'static str {
        match (self.health, self.metrics) {
            (true, true) => "expected /healthz, /readyz, /status or /metrics",
            (true, false) => "expected /healthz, /readyz or /status",
            _ => "expected /metrics",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::http::request::Method;
    use super::*;

    fn status(pages: Pages, path: &str, metrics: &Metrics) -> u16 {
        let request = Request {
            method: Method::Get,
            path: path.into(),
        };
        pages.answer(&request, metrics, "{}").status
    }

    #[test]
    fn each_port_pages_its_own() {
        let metrics = Metrics::default();
        for (path, health, counters) in [
            ("/", 200, 200),
            ("/healthz", 200, 404),
            ("/health", 200, 404),
            ("/readyz", 503, 404),
            ("/ready", 503, 404),
            ("/status", 200, 404),
            ("/status.json", 200, 404),
            ("/metrics", 404, 200),
            ("/other", 404, 404),
        ] {
            assert_eq!(status(Pages::HEALTH, path, &metrics), health, "{path}");
            assert_eq!(status(Pages::METRICS, path, &metrics), counters, "{path}");
            let both = health
                .min(counters)
                .max(if health == 503 { 503 } else { 0 });
            assert_eq!(status(Pages::BOTH, path, &metrics), both, "{path}");
        }
        metrics.source.up();
        metrics.destination.up();
        assert_eq!(status(Pages::HEALTH, "/readyz", &metrics), 200);
        assert_eq!(status(Pages::HEALTH, "/ready", &metrics), 200);
    }

    #[test]
    fn the_root_is_ok_on_the_port_of_metrics_and_health_where_it_is_both() {
        let metrics = Metrics::default();
        let body = |pages: Pages, path: &str| {
            let request = Request {
                method: Method::Get,
                path: path.into(),
            };
            pages.answer(&request, &metrics, "{}").body
        };
        assert_eq!(body(Pages::METRICS, "/"), "ok\n");
        for path in ["/", "/health", "/ready"] {
            assert!(body(Pages::BOTH, path).starts_with("{\"state\":"), "{path}");
        }
    }
}
