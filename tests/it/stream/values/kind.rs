//! A type and where its values come from.

/// One type: hand-picked values, and more that the server makes.
pub struct Kind {
    /// The type as SQL names it, qualified where it is not in `pg_catalog`.
    pub name: &'static str,
    /// Statements that make the type.
    pub setup: &'static str,
    /// Texts of values.
    pub edges: &'static [&'static str],
    /// An expression for one more value, over the number `g`; empty where there is none.
    pub random: &'static str,
    /// A query whose only column is of the type, for types that no text is read as.
    pub query: &'static str,
    /// The first major version that has it.
    pub since: u32,
    /// Nothing can be made of it: it has no array type.
    pub alone: bool,
    /// The extension that brings it.
    pub extension: &'static str,
}

impl Kind {
    /// A type with values.
    pub const fn of(
        name: &'static str,
        edges: &'static [&'static str],
        random: &'static str,
    ) -> Kind {
        Kind {
            name,
            setup: "",
            edges,
            random,
            query: "",
            since: 14,
            alone: false,
            extension: "",
        }
    }

    /// A type whose values a query gives.
    pub const fn from_query(name: &'static str, query: &'static str) -> Kind {
        let mut kind = Kind::of(name, &[], "");
        kind.query = query;
        kind
    }

    /// With statements that run before.
    pub const fn after(mut self, setup: &'static str) -> Kind {
        self.setup = setup;
        self
    }

    /// Without array type.
    pub const fn alone(mut self) -> Kind {
        self.alone = true;
        self
    }

    /// From this version on.
    pub const fn since(mut self, major: u32) -> Kind {
        self.since = major;
        self
    }

    /// Of an extension, which is in the schema `ext`.
    pub const fn of_extension(mut self, extension: &'static str) -> Kind {
        self.extension = extension;
        self
    }
}
