"""A small application with bemi-sqlalchemy. Each write says its own name as context, under "step"."""

import sys

from alembic.migration import MigrationContext
from alembic.operations import Operations
from bemi import Bemi
from sqlalchemy import create_engine, delete, insert, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def step(name):
    Bemi.set_context(name and {"step": name, "user": "Zoë \"Z\" O'Hara", "n": 1.5})


def write(engine, name, *statements):
    step(name)
    with Session(engine) as session, session.begin():
        for statement in statements:
            session.execute(statement)


def add(engine, *names):
    with Session(engine) as session, session.begin():
        for name in names:
            step("add " + name)
            session.add(Item(name=name))
            session.flush()


def migrate(engine):
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        with Operations.context(MigrationContext.configure(connection)):
            Bemi.migration_upgrade()


def write_all(engine, engine2):
    add(engine, "a")
    add(engine, "b")
    add(engine, "c")
    write(engine, "update a", update(Item).where(Item.name == "a").values(name="A"))
    write(engine, "update b", update(Item).where(Item.name == "b").values(name="B"))
    write(engine, "delete c", delete(Item).where(Item.name == "c"))
    step("bulk")
    with Session(engine) as session, session.begin():
        session.execute(insert(Item), [{"name": f"bulk {n}"} for n in range(5)])
    with Session(engine) as session, session.begin():
        session.add_all(Item(name=f"returned {n}") for n in range(3))
    write(engine, None, insert(Item).values(name="nobody"))
    # Two contexts in one transaction.
    add(engine, "first", "second")

    # psycopg2 puts values into the text of a statement, its comment included.
    write(engine2, "plain", insert(Item).values(name="plain"))
    write(engine2, "quote", insert(Item).values(name='say "hi"'))
    write(engine2, "after", insert(Item).values(name="after"))


def main(port, password, what):
    address = f"postgres:{password}@127.0.0.1:{port}/postgres"
    engine = create_engine(f"postgresql+psycopg://{address}")
    if what == "migrate":
        migrate(engine)
    elif what == "write":
        write_all(engine, create_engine(f"postgresql+psycopg2://{address}"))
    elif what == "more":
        add(engine, "more")


main(*sys.argv[1:])
