// Bundles the theme: what its server runs, and what a page loads. A test runs it once after `npm ci`.

import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const theme = `${dirname(fileURLToPath(import.meta.url))}/theme`;
const shared = {
  bundle: true,
  jsx: "automatic",
  logLevel: "warning",
  define: { "process.env.NODE_ENV": '"production"' },
};
await build({ ...shared, entryPoints: [`${theme}/server.jsx`], outfile: `${theme}/dist/server.cjs`, platform: "node" });
await build({
  ...shared,
  entryPoints: [`${theme}/client.jsx`],
  outfile: `${theme}/public/build/client.js`,
  format: "esm",
});
