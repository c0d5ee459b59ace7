// A small application with @bemi-db/prisma. Each write says its own name as context, under "step".

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [home, port, password, what] = process.argv.slice(2);
const require = createRequire(join(home, "package.json"));
const pg = require("pg");
const { PrismaClient } = require("@prisma/client");
const { PrismaPg, bemiMiddleware, setBemiContext, withBemiExtension } = require("@bemi-db/prisma");

const connectionString = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;

function context(step) {
  return { step, user: "Zoë \"Z\" O'Hara", n: 1.5 };
}

// The SQL of the migration that the command-line program of the package makes.
function migration() {
  const project = mkdtempSync(join(tmpdir(), "zemi-prisma-"));
  try {
    const migrations = join(project, "prisma", "migrations");
    mkdirSync(migrations, { recursive: true });
    const program = require.resolve("@bemi-db/prisma/dist/cli.js");
    execFileSync(process.execPath, [program, "migration:create"], { cwd: project });
    const [made] = readdirSync(migrations);
    return readFileSync(join(migrations, made, "migration.sql"), "utf8");
  } finally {
    rmSync(project, { recursive: true });
  }
}

// As `prisma migrate` does it: each file is one simple query.
async function migrate() {
  const client = new pg.Client({ connectionString });
  await client.connect();
  await client.query("CREATE TABLE items (id serial PRIMARY KEY, name text NOT NULL)");
  await client.query(migration());
  await client.end();
}

// A request to a web server with the middleware.
function request(step, handler) {
  return new Promise((done, failed) => {
    const middleware = bemiMiddleware((request) => context(request.step));
    middleware({ step }, {}, () => handler().then(done, failed));
  });
}

async function write(prisma) {
  for (const name of ["a", "b", "c"]) {
    await request(`add ${name}`, () => prisma.item.create({ data: { name } }));
  }
  await request("update a", () => prisma.item.update({ where: { id: 1 }, data: { name: "A" } }));
  setBemiContext(context("update b"));
  await prisma.item.updateMany({ where: { name: "b" }, data: { name: "B" } });
  setBemiContext(context("delete c"));
  await prisma.item.delete({ where: { id: 3 } });
  setBemiContext(context("bulk"));
  await prisma.item.createMany({ data: [0, 1, 2].map((n) => ({ name: `bulk ${n}` })) });
  setBemiContext(undefined);
  await prisma.item.create({ data: { name: "nobody" } });
  setBemiContext(context("raw"));
  const name = 'say "hi"';
  await prisma.$executeRaw`UPDATE items SET name = ${name} WHERE name LIKE 'bulk%'`;
  // Two contexts in one transaction.
  await prisma.$transaction(async (transaction) => {
    setBemiContext(context("add first"));
    await transaction.item.create({ data: { name: "first" } });
    setBemiContext(context("add second"));
    await transaction.item.create({ data: { name: "second" } });
  });
  setBemiContext(context("delete all"));
  await prisma.item.deleteMany({ where: { name } });
}

async function main() {
  if (what === "migrate") {
    return migrate();
  }
  const adapter = new PrismaPg({ connectionString });
  const prisma = withBemiExtension(new PrismaClient({ adapter }));
  if (what === "write") {
    await write(prisma);
  } else if (what === "more") {
    await request("add more", () => prisma.item.create({ data: { name: "more" } }));
  }
  await prisma.$disconnect();
}

await main();
