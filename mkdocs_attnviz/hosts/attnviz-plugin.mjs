#!/usr/bin/env node
// The plugin of attnviz for mystmd, written by `attnviz myst init`. It hands the blocks of each page to the command
// `attnviz`, and puts what that answers in their place.
import { spawn } from "node:child_process";
import { realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const config = join(dirname(fileURLToPath(import.meta.url)), "myst.yml");
const command = process.env.ATTNVIZ_COMMAND ?? "attnviz";
/** The options of `myst build` that make documents in which no script runs, and nothing else. */
const STATIC = /^--(pdf|tex|typst|docx|word|xml|jats|md)$/;
const isStatic =
  process.argv.some((word) => STATIC.test(word)) && !process.argv.some((word) => /^--(site|html|all)$/.test(word));

/** The command, which answers all pages of a build: `{ask}` returns a promise of the answer to a question. */
let running;

function start() {
  const child = spawn(command, ["myst", "answer", "-f", config], { stdio: ["pipe", "pipe", "inherit"] });
  const waiting = [];
  const end = (reason) => {
    running = undefined;
    for (const { reject } of waiting.splice(0)) reject(new Error(reason));
  };
  // The command may wait for more pages, but mystmd does not wait for the command.
  const keep = (busy) => {
    for (const part of [child, child.stdin, child.stdout]) busy ? part.ref() : part.unref();
  };
  child.on("error", () =>
    end(`The command \`${command}\` cannot be run; install it with \`pip install mkdocs-attnviz\`.`),
  );
  child.on("exit", () => end(`The command \`${command}\` has ended.`));
  child.stdin.on("error", () => {}); // it has ended, which is told above
  createInterface({ input: child.stdout }).on("line", (line) => {
    const { resolve, reject } = waiting.shift();
    if (waiting.length === 0) keep(false);
    const answer = JSON.parse(line);
    answer.error ? reject(new Error(answer.error)) : resolve(answer.blocks);
  });
  const ask = (question) =>
    new Promise((resolve, reject) => {
      waiting.push({ resolve, reject });
      keep(true);
      child.stdin.write(`${JSON.stringify(question)}\n`);
    });
  return { ask };
}

const isBlock = (node) => node.type === "code" && node.lang === "attention";
const isContainer = (node) => node.type === "container" && node.kind === "code" && node.children?.some(isBlock);

/** Yields the places of blocks in a tree: `{parent, node, code}`; `node` is the block's code, or the container of it. */
function* places(parent) {
  for (const node of parent.children ?? []) {
    if (isBlock(node)) yield { parent, node, code: node };
    else if (isContainer(node)) yield { parent, node, code: node.children.find(isBlock) };
    else yield* places(node);
  }
}

function questionOf({ node, code }) {
  const target = {};
  for (const key of ["label", "identifier", "html_id"])
    if (node[key] ?? code[key]) target[key] = node[key] ?? code[key];
  const caption = node.children?.find(({ type }) => type === "caption");
  return { body: code.value, line: code.position?.start.line, target, caption };
}

/** The answer to a question that the command has not answered. */
function failed(message, { target }) {
  const text = (type, value) => ({ type, children: [{ type: "text", value }] });
  const children = [text("admonitionTitle", "This attention block could not be drawn."), text("paragraph", message)];
  const nodes = [{ type: "admonition", kind: "error", ...target, children }];
  return { nodes, problems: [{ message, kind: "fault" }] };
}

/** Replaces all blocks of a page. `report` is called with each problem and the place of its block. */
async function replaceBlocks(tree, page, report) {
  const found = [...places(tree)];
  if (found.length === 0) return;
  const blocks = found.map(questionOf);
  let answers;
  try {
    running ??= start();
    answers = await running.ask({ page, static: isStatic, blocks });
  } catch ({ message }) {
    answers = blocks.map((block) => failed(message, block));
  }
  found.forEach(({ parent, node, code }, number) => {
    const { nodes, problems } = answers[number];
    parent.children.splice(parent.children.indexOf(node), 1, ...nodes);
    for (const problem of problems) report(problem, code);
  });
}

function warnIn(vfile) {
  return ({ message, line, kind }, { position }) => {
    const start = { line, column: 1 };
    const warning = vfile.message(message, line ? { start, end: start } : position, `attnviz:${kind}`);
    warning.fatal = true; // mystmd's word for an error: `--strict` fails, and the build goes on
  };
}

const DOC = "Draws blocks in the language `attention` as figures.";
const transform = { name: "attnviz", stage: "document", doc: DOC };

/** As a plugin of the type `javascript`: mystmd tells which page it is, and hears of problems. */
export default {
  name: "attnviz",
  transforms: [{ ...transform, plugin: () => (tree, vfile) => replaceBlocks(tree, vfile.path, warnIn(vfile)) }],
};

/** As a plugin of the type `executable`, mystmd runs this file for each page, and hears of problems only in the page. */
if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  if (process.argv[2] === "--transform") {
    const parts = [];
    for await (const part of process.stdin) parts.push(part);
    const tree = JSON.parse(Buffer.concat(parts).toString());
    await replaceBlocks(tree, null, ({ message }) => console.error(message));
    process.stdout.write(JSON.stringify(tree));
  } else process.stdout.write(JSON.stringify({ name: "attnviz", transforms: [transform] }));
}
