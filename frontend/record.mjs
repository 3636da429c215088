// Records in `built.json`, after a build, which sources and tools gave the committed scripts. `--check` tells by its exit
// status if both are the same today: a test need not build again what takes twelve seconds of a processor.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";

const STATIC = "../mkdocs_attnviz/static";
const TOOLS = ["esbuild", "terser", "lit", "lit-html", "lit-element", "@lit/reactive-element"];
const RECORD = "built.json";

/** Returns a digest of files: of their names and their content. */
function digest(files) {
  const hash = createHash("sha256");
  for (const file of files) hash.update(`${file}\0${createHash("sha256").update(readFileSync(file)).digest("hex")}\n`);
  return hash.digest("hex");
}

function files(folder, pattern) {
  const paths = readdirSync(folder, { recursive: true }).map((path) => `${folder}/${path}`);
  return paths.filter((path) => pattern.test(path) && statSync(path).isFile()).sort();
}

const sources = [...files("src", /./), "build.mjs", ...TOOLS.map((tool) => `node_modules/${tool}/package.json`)];
const today = { sources: digest(sources), scripts: digest(files(STATIC, /\.m?js$/)) };
const record = `${JSON.stringify(today, null, 2)}\n`;
if (!process.argv.includes("--check")) writeFileSync(RECORD, record);
else if (readFileSync(RECORD, "utf8") !== record) process.exitCode = 1;
