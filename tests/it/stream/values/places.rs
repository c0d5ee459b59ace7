//! Networks, bit strings and geometry.

use super::kind::Kind;

pub const KINDS: &[Kind] = &[
    Kind::of(
        "inet",
        &[
            "0.0.0.0",
            "255.255.255.255",
            "192.168.1.226/24",
            "10.1.2.3/8",
            "::",
            "::1",
            "::ffff:1.2.3.4",
            "2001:4f8:3:ba:2e0:81ff:fe22:d1f1/64",
            "fe80::/10",
        ],
        "'10.0.0.0/8'::inet + (random() * 1e7)::int8",
    ),
    Kind::of(
        "cidr",
        &[
            "0.0.0.0/0",
            "192.168.1.0/24",
            "10",
            "::/0",
            "2001:4f8:3:ba::/64",
            "::ffff:1.2.3.0/120",
            "1.2.3.4/32",
        ],
        "set_masklen('10.0.0.0'::cidr + g * 65536, 16)",
    ),
    Kind::of(
        "macaddr",
        &["00:00:00:00:00:00", "08002b-010203", "ff:ff:ff:ff:ff:ff"],
        "left(md5(g::text), 12)",
    ),
    Kind::of(
        "macaddr8",
        &["08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff:ff:ff"],
        "left(md5(g::text), 16)",
    ),
    Kind::of(
        "bit(8)",
        &["00000000", "11111111", "10100101"],
        "(g * 7)::bit(8)",
    ),
    Kind::of("bit", &["0", "1"], ""),
    Kind::of(
        "bit varying",
        &["", "0", "1010101010101010101"],
        "left((g * 7919)::bit(32)::text, 1 + g % 32)",
    ),
    Kind::of(
        "varbit(10)",
        &["", "0", "1111111111"],
        "left((g * 7919)::bit(32)::text, 1 + g % 10)",
    ),
    Kind::of(
        "point",
        &[
            "(0,0)",
            "(-10,0)",
            "(-3,4.5)",
            "(1e-300,-1e-300)",
            "(1e+300,Infinity)",
            "(NaN,NaN)",
            "(-0,0.1)",
        ],
        "point(random(), random() * 1e20)",
    ),
    Kind::of(
        "line",
        &["{0,-1,5}", "{1,0,5}", "{NaN,-1,Infinity}", "[(1,2),(3,4)]"],
        "line(point(g, 1), point(0, g))",
    ),
    Kind::of(
        "lseg",
        &[
            "[(1,2),(3,4)]",
            "[(-1e6,2e2),(3e5,-4e1)]",
            "[(NaN,1),(1,NaN)]",
        ],
        "lseg(point(g, 1), point(0, g))",
    ),
    Kind::of(
        "box",
        &[
            "(2,2),(0,0)",
            "(1,2),(3,4)",
            "(-8,2),(-2,-10)",
            "(3,3),(3,3)",
        ],
        "box(point(g, 1), point(0, random()))",
    ),
    Kind::of(
        "path",
        &[
            "[(1,2),(3,4)]",
            "((1,2),(3,4))",
            "[(0,0),(3,0),(4,5),(1,6)]",
            "((10,20))",
        ],
        "path(polygon(3 + g % 4, circle(point(g, 1), 2)))",
    ),
    Kind::of(
        "polygon",
        &["((2,0),(2,4),(0,0))", "((0,1))"],
        "polygon(3 + g % 4, circle(point(g, 1), 2))",
    ),
    Kind::of(
        "circle",
        &[
            "<(5,1),3>",
            "<(1,2),0>",
            "<(100,1),Infinity>",
            "<(3,5),NaN>",
        ],
        "circle(point(g, 1), random())",
    ),
];
