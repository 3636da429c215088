// The server that mystmd starts, and whose pages it saves. Like the book theme, it takes a page from mystmd's content
// server and gives files their public addresses.
import { createServer } from "node:http";
import { renderToString } from "react-dom/server";
import { Page } from "./page.jsx";

const content = `http://${process.env.HOST}:${process.env.CONTENT_CDN_PORT}`;
const base = process.env.BASE_URL ?? "";
const files = process.env.MODE === "static" ? `${base}/build` : content;
const STYLE = "article { max-width: 45rem; margin: auto; font: 1rem sans-serif } html.dark { background: #111; color: #eee }";

/** Gives the files that a page refers to the addresses under which they are published. */
function publish(node) {
  for (const key of ["url", "urlOptimized", "esm", "css"])
    if (typeof node[key] === "string" && (["image", "anywidget"].includes(node.type) || node.static))
      node[key] = `${files}${node[key]}`;
  for (const child of node.children ?? []) publish(child);
}

function html(page) {
  const json = JSON.stringify(page).replaceAll("<", "\\u003c");
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Page</title><style>${STYLE}</style></head><body><div id="root">${renderToString(<Page page={page} />)}</div>
<script type="application/json" id="page">${json}</script>
<script type="module" src="/myst_assets_folder/client.js"></script></body></html>`;
}

async function answer(request, response) {
  const path = new URL(request.url, content).pathname.replace(base, "");
  const name = path.replace(/^\/|\/$/g, "") || "index";
  const found = /\.(txt|css|xml|xsl|ico)$/.test(name) || (await fetch(`${content}/content/${name.replace(/\.json$/, "")}.json`));
  if (found === true || !found.ok) return response.end("");
  const page = await found.json();
  publish(page.mdast);
  response.end(name.endsWith(".json") ? JSON.stringify(page) : html(page));
}

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    console.error(error);
    response.writeHead(500).end(String(error));
  });
});
server.listen(process.env.PORT, process.env.HOST, () => console.log(`Server started at http://${process.env.HOST}:${process.env.PORT}`));
