//! What is planned in each situation, by table. Statements are shortened, see [`shown`].

#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::change::{Ancestor, Lineage};
use crate::source::publication::identity::{Generated, Identity};
use crate::source::publication::names::Names;
use crate::source::publication::state::Publications;
use crate::source::publication::statements::CHUNK;

const KEY: Identity = Identity::PrimaryKey(IdentityIndex::Usable);
const NO_KEY: Identity = Identity::PrimaryKey(IdentityIndex::Missing);
const DEFERRABLE_KEY: Identity = Identity::PrimaryKey(IdentityIndex::Unusable);
const INDEX: Identity = Identity::Index(IdentityIndex::Usable);
const DROPPED_INDEX: Identity = Identity::Index(IdentityIndex::Missing);
const INVALID_INDEX: Identity = Identity::Index(IdentityIndex::Unusable);

/// A source with its tables and publications, and zemi's settings.
struct Situation {
    state: State,
    vars: Vec<(&'static str, &'static str)>,
}

/// A source of version 17 that zemi's role logs in to.
fn source(superuser: bool) -> Situation {
    let state = State {
        version: 170_000,
        superuser,
        has_tools: false,
        tables: Vec::new(),
        own_tables: BTreeSet::new(),
        names: Names::of("z"),
        publications: Publications::default(),
    };
    let vars = vec![("DB_USER", "zemi")];
    Situation { state, vars }
}

fn superuser() -> Situation {
    source(true)
}

/// A role that owns the tables and publications of the situation, but for those that say otherwise.
fn owner() -> Situation {
    source(false)
}

/// A publication of zemi's: FOR ALL TABLES, or a list.
fn ours(publish: &str, tables: Option<&[&'static str]>) -> (Publication, Vec<&'static str>) {
    let publication = Publication {
        all_tables: tables.is_none(),
        publish: publish.to_owned(),
        via_root: false,
        generated: false,
        tables: BTreeSet::new(),
        marked: true,
        owned: true,
    };
    (publication, tables.unwrap_or_default().to_vec())
}

/// A publication that another program or a person made.
fn unmarked(publish: &str, tables: Option<&[&'static str]>) -> (Publication, Vec<&'static str>) {
    let (mut publication, tables) = ours(publish, tables);
    publication.marked = false;
    (publication, tables)
}

/// One that another zemi made, under a role that this one's is no member of.
fn of_other_role(
    publish: &str,
    tables: Option<&[&'static str]>,
) -> (Publication, Vec<&'static str>) {
    let (mut publication, tables) = ours(publish, tables);
    publication.owned = false;
    (publication, tables)
}

impl Situation {
    fn add(mut self, name: &str, identity: Identity) -> Self {
        let oid = 20_001 + u32::try_from(self.state.tables.len()).unwrap();
        self.state.tables.push(Table {
            identity,
            primary_key: match identity {
                Identity::PrimaryKey(index) => index,
                _ => IdentityIndex::Missing,
            },
            owner: "zemi".into(),
            ..Table::sample(oid, name)
        });
        self
    }

    fn last(&mut self) -> &mut Table {
        self.state.tables.last_mut().unwrap()
    }

    fn oid(&self, name: &str) -> Oid {
        let found = self
            .state
            .tables
            .iter()
            .find(|table| table.lineage.own().1 == name);
        found.unwrap_or_else(|| panic!("no table {name}")).oid
    }

    fn partitioned(self, name: &str, identity: Identity) -> Self {
        let mut situation = self.add(name, identity);
        situation.last().partitioned = true;
        situation
    }

    /// A partition of a partitioned table, which may be one of another.
    fn partition(self, name: &str, parent: &str, identity: Identity) -> Self {
        let parent_oid = self.oid(parent);
        let mut above = vec![parent_oid];
        let tables = self.state.tables.iter();
        above.extend(
            tables
                .filter(|t| t.oid == parent_oid)
                .flat_map(|t| t.above.clone()),
        );
        let ancestors: Vec<Ancestor> = above.iter().map(|oid| self.ancestor(*oid)).collect();
        let mut situation = self.add(name, identity);
        situation.last().above = above;
        situation.last().lineage = Lineage::new("public", name, &ancestors);
        situation
    }

    fn ancestor(&self, oid: Oid) -> Ancestor {
        let table = self
            .state
            .tables
            .iter()
            .find(|table| table.oid == oid)
            .unwrap();
        let (schema, name) = table.lineage.own();
        Ancestor {
            schema: schema.into(),
            table: name.into(),
            partitioned: table.partitioned,
        }
    }

    /// The last table is partitioned.
    fn in_parts(mut self) -> Self {
        self.last().partitioned = true;
        self
    }

    /// The replica identity of the last table contains generated columns.
    fn generated(mut self, has_stored: bool, has_virtual: bool) -> Self {
        self.last().in_identity = Generated {
            has_stored,
            has_virtual,
        };
        self
    }

    /// A tool that makes tables without keys is installed.
    fn with_tools(mut self) -> Self {
        self.state.has_tools = true;
        self
    }

    /// The last table belongs to this role, which zemi's is no member of.
    fn owned_by(mut self, role: &str) -> Self {
        self.last().owned = false;
        self.last().owner = role.into();
        self.last().owner_is_superuser = role == "postgres";
        self
    }

    /// The last table is one that zemi writes.
    fn zemis_own(mut self) -> Self {
        let oid = self.last().oid;
        self.state.own_tables.insert(oid);
        self
    }

    fn found(&self, (mut publication, tables): (Publication, Vec<&str>)) -> Option<Publication> {
        publication.tables = tables.into_iter().map(|name| self.oid(name)).collect();
        Some(publication)
    }

    fn first(mut self, publication: (Publication, Vec<&'static str>)) -> Self {
        self.state.publications.first = self.found(publication);
        self
    }

    fn updates(mut self, publication: (Publication, Vec<&'static str>)) -> Self {
        self.state.publications.updates = self.found(publication);
        self
    }

    fn next(mut self, publication: (Publication, Vec<&'static str>)) -> Self {
        self.state.publications.next = self.found(publication);
        self
    }

    fn version(mut self, version: u32) -> Self {
        self.state.version = version;
        self
    }

    fn set(mut self, name: &'static str, value: &'static str) -> Self {
        self.vars.push((name, value));
        self
    }

    /// The tables of the situation can publish this through these publications of zemi's, and do.
    fn published_as_lists(self, all: &[&'static str], usable: &[&'static str]) -> Self {
        self.first(ours(NEW_ROWS, Some(all)))
            .updates(ours(OLD_ROWS, Some(usable)))
    }

    fn published_by_root(mut self) -> Self {
        let publications = &mut self.state.publications;
        let all = [
            &mut publications.first,
            &mut publications.updates,
            &mut publications.next,
        ];
        for publication in all.into_iter().flatten() {
            publication.via_root = true;
        }
        self
    }

    /// The publications say what becomes of stored generated columns.
    fn publishes_generated(mut self, generated: bool) -> Self {
        let publications = &mut self.state.publications;
        let all = [
            &mut publications.first,
            &mut publications.updates,
            &mut publications.next,
        ];
        for publication in all.into_iter().flatten() {
            publication.generated = generated;
        }
        self
    }

    fn name_of(&self, oid: Oid) -> String {
        let table = self.state.tables.iter().find(|table| table.oid == oid);
        table.unwrap().quoted()
    }

    fn plan(&self) -> Result<Plan, Refusal> {
        let vars = self.vars.iter();
        let vars = vars.map(|&(name, value)| (name.into(), value.into()));
        let config = Config::from_vars(vars).unwrap().0;
        plan(&self.state, &config, &Tracked::new(&config))
    }

    /// Compares the plan, line by line.
    #[track_caller]
    fn gives(self, name: &str, expected: &[&str]) {
        let lines = shown(self.plan(), &|oid| self.name_of(oid));
        assert_eq!(lines, expected, "{name}\n{lines:#?}");
    }
}

/// A plan as lines: `begin`, its statements, `commit`, and what else there is. SQL without quotes, the
/// schema `public` and `publish_via_partition_root = false`; `(all)`, `(new)` and `(old)` are the operations.
fn shown(plan: Result<Plan, Refusal>, name_of: &dyn Fn(Oid) -> String) -> Vec<String> {
    let plan = match plan {
        Ok(plan) => plan,
        Err(Refusal { table, owner, fix }) => {
            return vec![short(&format!("refused {table} of {owner}: {fix}"))];
        }
    };
    let mut lines = Vec::new();
    for step in &plan.steps {
        match step {
            Step::Transaction(statements) => {
                lines.push("begin".to_owned());
                for line in statements.iter().map(|statement| short(&statement.sql())) {
                    if !is_shown_above(&line, &mut lines) {
                        lines.push(line);
                    }
                }
                lines.push("commit".to_owned());
            }
            Step::WaitForEarlierTransactions(name) => lines.push(format!("wait {name}")),
            Step::DeferredSwitch => lines.push("switch".to_owned()),
        }
    }
    let untracked = plan.untracked.iter();
    lines.extend(untracked.map(|oid| short(&format!("untracked {}", name_of(*oid)))));
    let forbidden = plan.forbidden.iter();
    lines.extend(forbidden.map(|f| short(&format!("forbidden {}: {}", f.table, f.fix))));
    lines
}

/// Shows the first tables of a publication with its CREATE: `CREATE z FOR TABLE a (new)`.
fn is_shown_above(line: &str, lines: &mut [String]) -> bool {
    let Some((name, tables)) = line.split_once(" ADD TABLE ") else {
        return false;
    };
    let create = name.replace("ALTER", "CREATE");
    let [.., above, _] = lines else {
        return false;
    };
    let is_first = above.starts_with(&format!("{create} ("));
    if is_first {
        *above = above.replacen(&create, &format!("{create} FOR TABLE {tables}"), 1);
    }
    is_first
}

fn short(sql: &str) -> String {
    let (sql, _) = sql.split_once("; or let").unwrap_or((sql, ""));
    sql.replace(", publish_via_partition_root = false", "")
        .replace("WITH (publish = 'insert, update, delete, truncate'", "(all")
        .replace("WITH (publish = 'insert, truncate'", "(new")
        .replace("WITH (publish = 'update, delete'", "(old")
        .replace(
            "SET (publish = 'insert, update, delete, truncate'",
            "SET (all",
        )
        .replace("SET (publish = 'insert, truncate'", "SET (new")
        .replace("SET (publish = 'update, delete'", "SET (old")
        .replace("PUBLICATION ", "")
        .replace("\"public\".", "")
        .replace('"', "")
}

#[test]
fn the_statements_are_these_to_the_letter() {
    let plan = superuser().add("a", KEY).version(180_000).plan().unwrap();
    let wanted = [
        "CREATE PUBLICATION \"z_updates\" WITH (publish = 'update, delete', \
         publish_via_partition_root = false, publish_generated_columns = stored)",
        "COMMENT ON PUBLICATION \"z_updates\" IS 'made by zemi'",
        "ALTER PUBLICATION \"z_updates\" ADD TABLE ONLY \"public\".\"a\"",
        "CREATE PUBLICATION \"z\" FOR ALL TABLES WITH (publish = 'insert, update, delete, truncate', \
         publish_via_partition_root = false, publish_generated_columns = stored)",
        "COMMENT ON PUBLICATION \"z\" IS 'made by zemi'",
    ];
    assert_eq!(plan.steps.len(), 1, "{plan:?}");
    let Some(Step::Transaction(statements)) = plan.steps.first() else {
        panic!("{plan:?}");
    };
    let statements: Vec<String> = statements.iter().map(Statement::sql).collect();
    assert_eq!(statements, wanted);
    assert!(plan.is_required && plan.untracked.is_empty() && plan.forbidden.is_empty());
}

/// What a list of zemi's is made of in the situations below.
const A_AND_B: &[&str] = &[
    "begin",
    "CREATE z_updates FOR TABLE ONLY a, ONLY b (old)",
    "COMMENT ON z_updates IS 'made by zemi'",
    "CREATE z FOR TABLE ONLY a, ONLY b (new)",
    "COMMENT ON z IS 'made by zemi'",
    "commit",
];

#[test]
fn rights() {
    superuser().add("a", KEY).add("b", KEY).gives(
        "a superuser publishes all tables",
        &[
            "begin",
            "CREATE z_updates FOR TABLE ONLY a, ONLY b (old)",
            "COMMENT ON z_updates IS 'made by zemi'",
            "CREATE z FOR ALL TABLES (all)",
            "COMMENT ON z IS 'made by zemi'",
            "commit",
        ],
    );
    owner()
        .add("a", KEY)
        .add("b", KEY)
        .gives("an owner lists its tables", A_AND_B);
    owner()
        .add("a", KEY)
        .add("b", KEY)
        .add("x", KEY)
        .owned_by("app")
        .gives(
            "a table of another role is left out",
            &[A_AND_B, &["forbidden x: GRANT app TO zemi"]].concat(),
        );
    owner().add("a", KEY).add("b", KEY).add("x", KEY).owned_by("postgres").gives(
        "a table of a superuser is left out",
        &[
            A_AND_B,
            &["forbidden x: CREATE z FOR ALL TABLES; as a superuser, after dropping what zemi made"],
        ]
        .concat(),
    );
    owner()
        .add("x", KEY)
        .owned_by("app")
        .add("y", KEY)
        .owned_by("app")
        .gives(
            "no table may be published",
            &["refused x of app: GRANT app TO zemi"],
        );
    owner()
        .add("x", KEY)
        .owned_by("app")
        .set("EXCLUDE_TABLES", "public.x")
        .gives(
            "a table of another role is not wanted",
            &[
                "begin",
                "CREATE z_updates (old)",
                "COMMENT ON z_updates IS 'made by zemi'",
                "CREATE z (new)",
                "COMMENT ON z IS 'made by zemi'",
                "commit",
            ],
        );
    superuser().add("x", KEY).owned_by("app").set("TABLES", "public.x").gives(
        "a superuser is a member of every role, as the server says; where not, a list needs the owner",
        &["refused x of app: GRANT app TO zemi"],
    );
    owner()
        .add("a", KEY)
        .add("x", KEY)
        .owned_by("app")
        .published_as_lists(&["a", "x"], &["a", "x"])
        .gives(
            "a table went to another role after it was listed",
            &[
                "begin",
                "ALTER z_updates DROP TABLE ONLY x",
                "ALTER z DROP TABLE ONLY x",
                "commit",
                "forbidden x: GRANT app TO zemi",
            ],
        );
}

#[test]
fn an_empty_database() {
    superuser().gives(
        "a superuser",
        &[
            "begin",
            "CREATE z_updates (old)",
            "COMMENT ON z_updates IS 'made by zemi'",
            "CREATE z FOR ALL TABLES (all)",
            "COMMENT ON z IS 'made by zemi'",
            "commit",
        ],
    );
    owner().gives(
        "another role",
        &[
            "begin",
            "CREATE z_updates (old)",
            "COMMENT ON z_updates IS 'made by zemi'",
            "CREATE z (new)",
            "COMMENT ON z IS 'made by zemi'",
            "commit",
        ],
    );
}

#[test]
fn identities() {
    let alone = |name: &str, identity: Identity, usable: bool| {
        let list = if usable {
            "CREATE z_updates FOR TABLE ONLY t (old)"
        } else {
            "CREATE z_updates (old)"
        };
        let all = if usable {
            "CREATE z FOR ALL TABLES (all)"
        } else {
            "CREATE z FOR ALL TABLES (new)"
        };
        let mut expected = vec![
            "begin",
            list,
            "COMMENT ON z_updates IS 'made by zemi'",
            all,
            "COMMENT ON z IS 'made by zemi'",
            "commit",
        ];
        expected.extend((!usable).then_some("untracked t"));
        superuser().add("t", identity).gives(name, &expected);
    };
    alone("primary key", KEY, true);
    alone("no primary key", NO_KEY, false);
    alone("DEFERRABLE primary key", DEFERRABLE_KEY, false);
    alone("FULL", Identity::Full, true);
    alone("NOTHING", Identity::Nothing, false);
    alone("index", INDEX, true);
    alone("dropped index", DROPPED_INDEX, false);
    alone("invalid index", INVALID_INDEX, false);

    owner().add("a", KEY).add("b", NO_KEY).gives(
        "lists differ by the table without a key",
        &[
            "begin",
            "CREATE z_updates FOR TABLE ONLY a (old)",
            "COMMENT ON z_updates IS 'made by zemi'",
            "CREATE z FOR TABLE ONLY a, ONLY b (new)",
            "COMMENT ON z IS 'made by zemi'",
            "commit",
            "untracked b",
        ],
    );
    superuser()
        .add("a", KEY)
        .add("b", NO_KEY)
        .set("EXCLUDE_TABLES", "public.b")
        .gives(
            "a table without a key that is not tracked hinders FOR ALL TABLES, too",
            &[
                "begin",
                "CREATE z_updates FOR TABLE ONLY a (old)",
                "COMMENT ON z_updates IS 'made by zemi'",
                "CREATE z FOR ALL TABLES (new)",
                "COMMENT ON z IS 'made by zemi'",
                "commit",
            ],
        );
    owner()
        .add("a", KEY)
        .add("b", KEY)
        .published_as_lists(&["a", "b"], &["a"])
        .gives(
            "a table of a list got a key",
            &["begin", "ALTER z_updates ADD TABLE ONLY b", "commit"],
        );
    owner()
        .add("a", KEY)
        .add("b", NO_KEY)
        .published_as_lists(&["a", "b"], &["a", "b"])
        .gives(
            "a table of a list lost its key",
            &[
                "begin",
                "ALTER z_updates DROP TABLE ONLY b",
                "commit",
                "untracked b",
            ],
        );
}

#[test]
fn all_tables_narrowed_and_widened() {
    let all = |updates: &'static [&'static str]| {
        superuser()
            .add("a", KEY)
            .first(ours(ALL_OPERATIONS, None))
            .updates(ours(OLD_ROWS, Some(updates)))
    };
    all(&["a"]).gives("nothing has to change", &[]);
    all(&["a"]).add("b", NO_KEY).gives(
        "a table without a key came, all others are listed",
        &["begin", "ALTER z SET (new)", "commit", "untracked b"],
    );
    all(&["a"]).add("c", KEY).gives(
        "a table with a key came: it is listed before it is needed there",
        &["begin", "ALTER z_updates ADD TABLE ONLY c", "commit"],
    );
    all(&["a"]).add("b", NO_KEY).add("c", KEY).gives(
        "both came: listed first, and narrowed when no older transaction is open",
        &[
            "begin",
            "ALTER z_updates ADD TABLE ONLY c",
            "commit",
            "wait z_updates",
            "begin",
            "ALTER z SET (new)",
            "commit",
            "untracked b",
        ],
    );
    superuser()
        .add("a", KEY)
        .add("b", NO_KEY)
        .first(ours(ALL_OPERATIONS, None))
        .gives(
            "the second publication was dropped: made first",
            &[
                "begin",
                "CREATE z_updates FOR TABLE ONLY a (old)",
                "COMMENT ON z_updates IS 'made by zemi'",
                "commit",
                "wait z_updates",
                "begin",
                "ALTER z SET (new)",
                "commit",
                "untracked b",
            ],
        );
    superuser()
        .add("a", KEY)
        .add("b", Identity::Full)
        .first(ours(NEW_ROWS, None))
        .updates(ours(OLD_ROWS, Some(&["a"])))
        .gives(
            "the last table without a usable identity got one: widened in one transaction",
            &[
                "begin",
                "ALTER z_updates ADD TABLE ONLY b",
                "ALTER z SET (all)",
                "commit",
            ],
        );
    superuser()
        .add("a", KEY)
        .first(ours("insert", None))
        .updates(ours("update", Some(&["a"])))
        .gives(
            "operations that a person took out of zemi's publications come back",
            &[
                "begin",
                "ALTER z_updates SET (old)",
                "ALTER z SET (all)",
                "commit",
            ],
        );
}

#[test]
// One table.
#[allow(clippy::too_many_lines)]
fn from_all_tables_to_a_list_and_back() {
    let all = || {
        superuser()
            .add("a", KEY)
            .add("b", KEY)
            .first(ours(ALL_OPERATIONS, None))
            .updates(ours(OLD_ROWS, Some(&["a", "b"])))
    };
    all().set("TABLES", "public.a").gives(
        "the list is made beside FOR ALL TABLES, and switched to later",
        &[
            "begin",
            "ALTER z_updates DROP TABLE ONLY b",
            "commit",
            "wait z_updates",
            "begin",
            "ALTER z SET (new)",
            "CREATE z_next FOR TABLE ONLY a (new)",
            "COMMENT ON z_next IS 'made by zemi'",
            "commit",
            "switch",
        ],
    );
    let switching = || {
        superuser()
            .add("a", KEY)
            .add("b", KEY)
            .first(ours(NEW_ROWS, None))
            .updates(ours(OLD_ROWS, Some(&["a"])))
            .next(ours(NEW_ROWS, Some(&["a"])))
    };
    switching()
        .set("TABLES", "public.a")
        .gives("the switch alone is left", &["switch"]);
    switching().set("TABLES", "public.a,public.b").gives(
        "the list grows while it waits",
        &[
            "begin",
            "ALTER z_updates ADD TABLE ONLY b",
            "ALTER z_next ADD TABLE ONLY b",
            "commit",
            "switch",
        ],
    );
    switching().gives(
        "TABLES was unset while the list waited: it is dropped",
        &[
            "begin",
            "ALTER z_updates ADD TABLE ONLY b",
            "ALTER z SET (all)",
            "DROP z_next",
            "commit",
        ],
    );
    superuser()
        .add("a", KEY)
        .add("b", KEY)
        .published_as_lists(&["a"], &["a"])
        .gives(
            "from a list to FOR ALL TABLES in one transaction",
            &[
                "begin",
                "ALTER z_updates ADD TABLE ONLY b",
                "DROP z",
                "CREATE z FOR ALL TABLES (all)",
                "COMMENT ON z IS 'made by zemi'",
                "commit",
            ],
        );
    owner()
        .add("a", KEY)
        .first(ours(ALL_OPERATIONS, None))
        .updates(ours(OLD_ROWS, Some(&["a"])))
        .gives(
            "the role is no superuser any more",
            &[
                "begin",
                "ALTER z SET (new)",
                "CREATE z_next FOR TABLE ONLY a (new)",
                "COMMENT ON z_next IS 'made by zemi'",
                "commit",
                "switch",
            ],
        );
    owner()
        .add("a", KEY)
        .published_as_lists(&["a"], &["a"])
        .next(ours(NEW_ROWS, Some(&["a"])))
        .gives(
            "a next publication that is left over is dropped",
            &["begin", "DROP z_next", "commit"],
        );
    owner()
        .add("a", KEY)
        .published_as_lists(&["a"], &["a"])
        .next(unmarked(NEW_ROWS, None))
        .gives("unless another program made it", &[]);
    all()
        .set("TABLES", "public.a,public.b")
        .next(unmarked(NEW_ROWS, None))
        .gives(
            "the name of the next publication is taken: the statement fails at the server",
            &[
                "begin",
                "ALTER z SET (new)",
                "CREATE z_next FOR TABLE ONLY a, ONLY b (new)",
                "COMMENT ON z_next IS 'made by zemi'",
                "commit",
                "switch",
            ],
        );
}

#[test]
fn publications_of_others() {
    let foreign = |publication| {
        superuser()
            .add("a", KEY)
            .add("b", NO_KEY)
            .first(publication)
    };
    foreign(unmarked(ALL_OPERATIONS, None)).gives("FOR ALL TABLES", &["untracked b"]);
    foreign(unmarked(ALL_OPERATIONS, Some(&["a"]))).gives("a list", &["untracked b"]);
    foreign(unmarked("insert", Some(&[]))).gives("inserts of nothing", &["untracked b"]);
    foreign(of_other_role(ALL_OPERATIONS, None)).gives("another zemi's", &["untracked b"]);
    foreign(unmarked(NEW_ROWS, None))
        .updates(unmarked(OLD_ROWS, Some(&["a"])))
        .gives("both are another program's", &["untracked b"]);
    foreign(unmarked(NEW_ROWS, None))
        .updates(ours(OLD_ROWS, Some(&[])))
        .gives(
            "the second one is zemi's, from before the first one was made anew: it is kept up",
            &[
                "begin",
                "ALTER z_updates ADD TABLE ONLY a",
                "commit",
                "untracked b",
            ],
        );
    foreign(unmarked(ALL_OPERATIONS, None))
        .set("TABLES", "public.a")
        .gives(
            "TABLES does not change FOR ALL TABLES of another program",
            &[],
        );
    owner()
        .add("x", KEY)
        .owned_by("app")
        .first(unmarked(ALL_OPERATIONS, None))
        .gives("FOR ALL TABLES holds the tables of other roles", &[]);
    owner()
        .add("x", KEY)
        .owned_by("app")
        .first(unmarked(ALL_OPERATIONS, Some(&["x"])))
        .gives(
            "a list may hold the tables of other roles: looked up when the plan is applied",
            &["forbidden x: GRANT app TO zemi"],
        );
    owner()
        .add("a", KEY)
        .updates(ours(OLD_ROWS, Some(&["a"])))
        .gives(
            "the first one was dropped: made again",
            &[
                "begin",
                "CREATE z FOR TABLE ONLY a (new)",
                "COMMENT ON z IS 'made by zemi'",
                "commit",
            ],
        );
    owner()
        .add("a", KEY)
        .updates(unmarked(OLD_ROWS, Some(&[])))
        .gives(
            "the name of the second one is taken: it is not touched, and refused before",
            &[
                "begin",
                "CREATE z FOR TABLE ONLY a (new)",
                "COMMENT ON z IS 'made by zemi'",
                "commit",
            ],
        );
    superuser()
        .add("a", KEY)
        .first(ours(ALL_OPERATIONS, None))
        .updates(ours(ALL_OPERATIONS, None))
        .gives(
            "the second one is FOR ALL TABLES: made anew as a list",
            &[
                "begin",
                "DROP z_updates",
                "CREATE z_updates FOR TABLE ONLY a (old)",
                "COMMENT ON z_updates IS 'made by zemi'",
                "commit",
            ],
        );
}

/// The statements of a role that lists these tables for the first time.
fn lists(updates: &str, first: &str) -> Vec<String> {
    let target = |list: &str| match list {
        "" => String::new(),
        list => format!(" FOR TABLE {list}"),
    };
    vec![
        "begin".to_owned(),
        format!("CREATE z_updates{} (old)", target(updates)),
        "COMMENT ON z_updates IS 'made by zemi'".to_owned(),
        format!("CREATE z{} (new)", target(first)),
        "COMMENT ON z IS 'made by zemi'".to_owned(),
        "commit".to_owned(),
    ]
}

#[track_caller]
fn gives_lists(situation: Situation, name: &str, updates: &str, first: &str, rest: &[&str]) {
    let lines = lists(updates, first);
    let lines = lines.iter().map(String::as_str).chain(rest.iter().copied());
    situation.gives(name, &lines.collect::<Vec<_>>());
}

#[test]
// One table.
#[allow(clippy::too_many_lines)]
fn partitions() {
    let whole = || {
        owner()
            .partitioned("p", KEY)
            .partition("p1", "p", KEY)
            .partition("p2", "p", KEY)
    };
    let gives = gives_lists;
    gives(whole(), "listed by their root", "ONLY p", "ONLY p", &[]);
    gives(
        whole().set("PUBLISH_VIA_PARTITION_ROOT", "false"),
        "whatever the rows are called",
        "ONLY p",
        "ONLY p",
        &[],
    );
    gives(
        whole().partition("p3", "p", NO_KEY),
        "one without a key: updates are listed by partition",
        "ONLY p1, ONLY p2",
        "ONLY p",
        &["untracked p3"],
    );
    gives(
        whole().partition("p3", "p", KEY).owned_by("app"),
        "one of another role: all are listed by partition",
        "ONLY p1, ONLY p2",
        "ONLY p1, ONLY p2",
        &["forbidden p3: GRANT app TO zemi"],
    );
    gives(
        whole()
            .partitioned("q", KEY)
            .owned_by("app")
            .partition("q1", "q", KEY),
        "the root is another role's: its partitions are listed by their own names",
        "ONLY p, ONLY q1",
        "ONLY p, ONLY q1",
        &[],
    );
    gives(
        whole().set("TABLES", "public.p"),
        "TABLES names the root",
        "ONLY p",
        "ONLY p",
        &[],
    );
    gives(
        whole().set("TABLES", "public.p1"),
        "TABLES names a partition",
        "ONLY p1",
        "ONLY p1",
        &[],
    );
    gives(
        whole().set("TABLES", "public.p1,public.p2"),
        "TABLES names all partitions that there are now",
        "ONLY p1, ONLY p2",
        "ONLY p1, ONLY p2",
        &[],
    );
    gives(
        whole().set("EXCLUDE_TABLES", "public.p2"),
        "one is left out",
        "ONLY p1",
        "ONLY p1",
        &[],
    );
    gives(
        whole().set("EXCLUDE_TABLES", "public.p"),
        "all are left out by the root's name",
        "",
        "",
        &[],
    );
    gives(
        owner().partitioned("p", KEY),
        "a root without partitions is listed for those that come",
        "ONLY p",
        "ONLY p",
        &[],
    );
    gives(
        owner()
            .partitioned("p", NO_KEY)
            .partition("p1", "p", Identity::Full),
        "without a key of the root, a later partition would have none: updates are listed one by one",
        "ONLY p1",
        "ONLY p",
        &[],
    );
    gives(
        owner()
            .partitioned("p", KEY)
            .partition("q", "p", KEY)
            .in_parts()
            .partition("q1", "q", KEY)
            .partition("q2", "q", KEY)
            .partition("p1", "p", Identity::Nothing),
        "the topmost table that stands for all below it",
        "ONLY q",
        "ONLY p",
        &["untracked p1"],
    );
    superuser()
        .partitioned("p", Identity::Nothing)
        .partition("p1", "p", Identity::Full)
        .first(ours(ALL_OPERATIONS, None))
        .updates(ours(OLD_ROWS, Some(&["p1"])))
        .gives("the identity of the root does not matter", &[]);
    whole()
        .published_as_lists(&["p"], &["p"])
        .partition("p3", "p", Identity::Nothing)
        .gives(
            "a partition without identity came: the others are listed before the root leaves",
            &[
                "begin",
                "ALTER z_updates ADD TABLE ONLY p1, ONLY p2",
                "ALTER z_updates DROP TABLE ONLY p",
                "commit",
                "untracked p3",
            ],
        );
}

#[test]
fn the_leaves_are_published_from_now_on() {
    owner()
        .partitioned("p", KEY)
        .partition("p1", "p", KEY)
        .published_as_lists(&["p"], &["p"])
        .published_by_root()
        .gives(
            "publications of zemi's from before are altered, both at once",
            &[
                "begin",
                "ALTER z SET (publish_via_partition_root = false)",
                "ALTER z_updates SET (publish_via_partition_root = false)",
                "commit",
            ],
        );
    superuser()
        .add("a", KEY)
        .first(unmarked(ALL_OPERATIONS, None))
        .published_by_root()
        .gives("one that zemi did not make stays as it is", &[]);
}

#[test]
fn tables_of_tools() {
    let repack = |situation: Situation, name: &str| {
        let mut situation = situation.add(name, NO_KEY);
        situation.last().lineage = Lineage::new("repack", name, &[]);
        situation
    };
    superuser().add("a", KEY).with_tools().gives(
        "a tool's tables without keys would be refused",
        &[
            "begin",
            "CREATE z_updates FOR TABLE ONLY a (old)",
            "COMMENT ON z_updates IS 'made by zemi'",
            "CREATE z FOR ALL TABLES (new)",
            "COMMENT ON z IS 'made by zemi'",
            "commit",
        ],
    );
    repack(superuser().add("a", KEY), "table_1")
        .with_tools()
        .gives(
            "they are listed nowhere, and no warning names them",
            &[
                "begin",
                "CREATE z_updates FOR TABLE ONLY a (old)",
                "COMMENT ON z_updates IS 'made by zemi'",
                "CREATE z FOR ALL TABLES (new)",
                "COMMENT ON z IS 'made by zemi'",
                "commit",
            ],
        );
    gives_lists(
        repack(owner().add("a", KEY), "table_1").with_tools(),
        "a list leaves them out",
        "ONLY a",
        "ONLY a",
        &[],
    );
    gives_lists(
        repack(owner().add("a", KEY), "table_1")
            .with_tools()
            .set("TABLES", "repack.table_1"),
        "unless TABLES names them",
        "",
        "ONLY repack.table_1",
        &["untracked repack.table_1"],
    );
}

#[test]
fn generated_columns() {
    let on_18 = |situation: Situation| situation.version(180_000);
    on_18(owner().add("a", Identity::Full).generated(true, false))
        .published_as_lists(&["a"], &["a"])
        .publishes_generated(true)
        .gives("stored ones are published", &[]);
    on_18(owner().add("a", Identity::Full).generated(false, true))
        .published_as_lists(&["a"], &["a"])
        .publishes_generated(true)
        .gives(
            "virtual ones are not: UPDATE would be refused",
            &[
                "begin",
                "ALTER z_updates DROP TABLE ONLY a",
                "commit",
                "untracked a",
            ],
        );
    on_18(superuser().add("a", KEY))
        .first(ours(ALL_OPERATIONS, None))
        .updates(ours(OLD_ROWS, Some(&["a"])))
        .gives(
            "publications from before the server became 18 are altered, both at once",
            &[
                "begin",
                "ALTER z SET (publish_generated_columns = stored)",
                "ALTER z_updates SET (publish_generated_columns = stored)",
                "commit",
            ],
        );
    on_18(superuser().add("a", KEY).add("b", NO_KEY).add("c", KEY))
        .first(ours(ALL_OPERATIONS, None))
        .updates(ours(OLD_ROWS, Some(&["a"])))
        .gives(
            "also where the first one is narrowed later",
            &[
                "begin",
                "ALTER z SET (publish_generated_columns = stored)",
                "ALTER z_updates SET (publish_generated_columns = stored)",
                "ALTER z_updates ADD TABLE ONLY c",
                "commit",
                "wait z_updates",
                "begin",
                "ALTER z SET (new)",
                "commit",
                "untracked b",
            ],
        );
    on_18(superuser().add("a", Identity::Full).generated(true, false))
        .first(unmarked(ALL_OPERATIONS, None))
        .gives(
            "a publication that zemi did not make leaves them out: UPDATE is refused, and nothing is altered",
            &["untracked a"],
        );
    on_18(superuser().add("a", KEY))
        .first(unmarked(NEW_ROWS, None))
        .updates(ours(OLD_ROWS, Some(&["a"])))
        .publishes_generated(true)
        .gives("beside one that has them", &[]);
    let mut beside = on_18(superuser().add("a", KEY))
        .first(unmarked(NEW_ROWS, None))
        .updates(ours(OLD_ROWS, Some(&["a"])));
    beside
        .state
        .publications
        .updates
        .as_mut()
        .unwrap()
        .generated = true;
    beside.gives(
        "and beside one that has not",
        &[
            "begin",
            "ALTER z_updates SET (publish_generated_columns = none)",
            "commit",
        ],
    );
}

/// Tables `t0` and so on, all with keys.
fn many(mut situation: Situation, number: usize) -> (Situation, Vec<&'static str>) {
    let mut names: Vec<&'static str> = Vec::new();
    for n in 0..number {
        let name: &'static str = Box::leak(format!("t{n}").into_boxed_str());
        situation = situation.add(name, KEY);
        names.push(name);
    }
    (situation, names)
}

/// Each transaction as its number of locks and the beginnings of its statements.
#[track_caller]
fn gives_transactions(situation: &Situation, name: &str, expected: &[&str]) {
    let plan = situation.plan().unwrap();
    let line = |step: &Step| match step {
        Step::Transaction(statements) => {
            let locks: usize = statements.iter().map(|s| s.locks).sum();
            assert!(locks <= CHUNK, "{name}");
            let begins = |sql: &str| {
                let words = short(sql).split(' ').take(3).collect::<Vec<_>>().join(" ");
                words
                    .replace(" (old)", "")
                    .replace(" FOR", "")
                    .replace(" TABLE", "")
                    .replace(" ONLY", "")
            };
            let all: Vec<String> = statements
                .iter()
                .filter(|s| !s.head.starts_with("COMMENT"))
                .map(|s| begins(&s.head))
                .collect();
            format!("{locks}: {}", all.join(", "))
        }
        other => format!("{other:?}"),
    };
    let lines: Vec<String> = plan.steps.iter().map(line).collect();
    assert_eq!(lines, expected, "{name}");
}

#[test]
fn many_tables_go_into_several_transactions() {
    let (situation, _) = many(superuser(), 450);
    gives_transactions(
        &situation,
        "the list is complete before FOR ALL TABLES is there",
        &[
            "200: CREATE z_updates, ALTER z_updates ADD",
            "200: ALTER z_updates ADD",
            "50: ALTER z_updates ADD, CREATE z",
        ],
    );
    let (situation, names) = many(superuser(), 450);
    let names: &'static [&'static str] = Box::leak(names.into_boxed_slice());
    let narrowed = situation
        .add("b", NO_KEY)
        .first(ours(ALL_OPERATIONS, None))
        .updates(ours(OLD_ROWS, Some(&names[..100])));
    gives_transactions(
        &narrowed,
        "the list grows wholly before the first one is narrowed",
        &[
            "200: ALTER z_updates ADD",
            "150: ALTER z_updates ADD",
            "WaitForEarlierTransactions(\"z_updates\")",
            "0: ALTER z SET",
        ],
    );
    let (situation, _) = many(superuser(), 450);
    let widened = situation.published_as_lists(names, names);
    gives_transactions(
        &widened,
        "a large list makes room for FOR ALL TABLES, and is dropped in parts behind it",
        &[
            "200: ALTER z RENAME, CREATE z, ALTER z_next DROP",
            "50: ALTER z_next DROP",
            "200: DROP z_next",
        ],
    );
    let (situation, _) = many(superuser(), 450);
    let left_over = situation
        .published_as_lists(names, names)
        .next(ours(NEW_ROWS, Some(names)));
    gives_transactions(
        &left_over,
        "one that is left over under the other name goes first",
        &[
            "200: ALTER z_next DROP",
            "50: ALTER z_next DROP",
            "200: DROP z_next, ALTER z RENAME, CREATE z",
            "200: ALTER z_next DROP",
            "50: ALTER z_next DROP",
            "200: DROP z_next",
        ],
    );
    let bare: Vec<String> = widened
        .plan()
        .unwrap()
        .steps
        .into_iter()
        .flat_map(|step| match step {
            Step::Transaction(statements) => statements,
            _ => Vec::new(),
        })
        .filter(|statement| statement.is_tried)
        .map(|statement| statement.sql())
        .collect();
    assert_eq!(
        bare.len(),
        3,
        "what is tried and undone locks no table: {bare:?}"
    );
}

#[test]
fn settings_of_tables() {
    let tables = || owner().add("a", KEY).add("b", KEY).add("c", KEY);
    tables()
        .set("TABLES", "public.a,public.b")
        .gives("TABLES", A_AND_B);
    tables()
        .set("EXCLUDE_TABLES", "public.c")
        .gives("EXCLUDE_TABLES", A_AND_B);
    superuser()
        .add("a", KEY)
        .add("b", KEY)
        .add("c", KEY)
        .set("TABLES", "public.a,public.b")
        .gives("TABLES for a superuser", A_AND_B);
    superuser()
        .add("a", KEY)
        .add("b", KEY)
        .set("EXCLUDE_TABLES", "public.b")
        .gives(
            "EXCLUDE_TABLES leaves FOR ALL TABLES as it is",
            &[
                "begin",
                "CREATE z_updates FOR TABLE ONLY a (old)",
                "COMMENT ON z_updates IS 'made by zemi'",
                "CREATE z FOR ALL TABLES (all)",
                "COMMENT ON z IS 'made by zemi'",
                "commit",
            ],
        );
    tables().set("TABLES", "public.nothing").gives(
        "TABLES that match nothing",
        &[
            "begin",
            "CREATE z_updates (old)",
            "COMMENT ON z_updates IS 'made by zemi'",
            "CREATE z (new)",
            "COMMENT ON z IS 'made by zemi'",
            "commit",
        ],
    );
    tables()
        .set("TABLES", "public.a")
        .published_as_lists(&["a", "b"], &["a", "b"])
        .gives(
            "TABLES became shorter",
            &[
                "begin",
                "ALTER z_updates DROP TABLE ONLY b",
                "ALTER z DROP TABLE ONLY b",
                "commit",
            ],
        );
    tables().published_as_lists(&["a"], &["a"]).gives(
        "tables came",
        &[
            "begin",
            "ALTER z_updates ADD TABLE ONLY b, ONLY c",
            "ALTER z ADD TABLE ONLY b, ONLY c",
            "commit",
        ],
    );
}

#[test]
fn zemis_own_tables() {
    superuser()
        .add("a", KEY)
        .add("changes", KEY)
        .zemis_own()
        .gives(
            "with a usable identity they are listed nowhere",
            &[
                "begin",
                "CREATE z_updates FOR TABLE ONLY a (old)",
                "COMMENT ON z_updates IS 'made by zemi'",
                "CREATE z FOR ALL TABLES (all)",
                "COMMENT ON z IS 'made by zemi'",
                "commit",
            ],
        );
    superuser()
        .add("a", KEY)
        .add("changes", NO_KEY)
        .zemis_own()
        .gives(
            "without one, UPDATE on them must not be refused, and no warning names them",
            &[
                "begin",
                "CREATE z_updates FOR TABLE ONLY a (old)",
                "COMMENT ON z_updates IS 'made by zemi'",
                "CREATE z FOR ALL TABLES (new)",
                "COMMENT ON z IS 'made by zemi'",
                "commit",
            ],
        );
    superuser()
        .add("a", KEY)
        .partitioned("changes", NO_KEY)
        .zemis_own()
        .gives(
            "a partitioned table of changes holds no rows itself",
            &[
                "begin",
                "CREATE z_updates FOR TABLE ONLY a (old)",
                "COMMENT ON z_updates IS 'made by zemi'",
                "CREATE z FOR ALL TABLES (all)",
                "COMMENT ON z IS 'made by zemi'",
                "commit",
            ],
        );
    owner()
        .add("a", KEY)
        .add("b", KEY)
        .add("changes", NO_KEY)
        .zemis_own()
        .add("zemi_progress", KEY)
        .owned_by("app")
        .zemis_own()
        .gives("an owner's lists do not name them", A_AND_B);
}

#[test]
fn versions_and_names() {
    owner().version(180_000).add("a", KEY).gives(
        "generated columns from 18 on",
        &[
            "begin",
            "CREATE z_updates FOR TABLE ONLY a (old, publish_generated_columns = stored)",
            "COMMENT ON z_updates IS 'made by zemi'",
            "CREATE z FOR TABLE ONLY a (new, publish_generated_columns = stored)",
            "COMMENT ON z IS 'made by zemi'",
            "commit",
        ],
    );
    let mut quoted = owner().add("It's \"b", KEY);
    quoted.state.names = Names::of("My \"Pub");
    let plan = quoted.plan().unwrap();
    let Some(Step::Transaction(statements)) = plan.steps.first() else {
        panic!("{plan:?}");
    };
    assert!(
        statements[2].sql()
            == "ALTER PUBLICATION \"My \"\"Pub_updates\" ADD TABLE ONLY \"public\".\"It's \"\"b\"",
        "{statements:?}"
    );
}

#[test]
fn a_failure_matters_where_there_is_nothing_else_to_follow() {
    let is_required = |situation: Situation| situation.plan().unwrap().is_required;
    assert!(is_required(owner().add("a", KEY)));
    assert!(is_required(owner().updates(unmarked(OLD_ROWS, None))));
    assert!(!is_required(owner().first(unmarked(NEW_ROWS, None))));
    assert!(!is_required(owner().published_as_lists(&[], &[])));
}
