// Opens pages in Firefox, draws their figures and looks at their layout: `node firefox.mjs BROWSER AUDIT.js CSS URL…`.
// Each page gets the style `CSS` first. Writes for each what is wrong and which errors it logged, as JSON.
import { readFile } from "node:fs/promises";
import puppeteer from "puppeteer-core";

const [executablePath, audit, css, ...urls] = process.argv.slice(2);
const look = await readFile(audit, "utf8");
// One tab, in one process: new ones would cost as much as the pages in them.
const extraPrefsFirefox = {
  "dom.ipc.keepProcessesAlive.web": 1,
  "dom.ipc.processCount": 1,
  "dom.ipc.processPrelaunch.enabled": false,
  "fission.autostart": false,
};
const browser = await puppeteer.launch({ browser: "firefox", executablePath, headless: true, extraPrefsFirefox });
const page = await browser.newPage();
await page.setViewport({ width: 1280, height: 900 });
const found = {};
let errors = [];
page.on("pageerror", (error) => errors.push(error.message));

for (const url of urls) {
  errors = [];
  await page.goto(url);
  const drawn = await page.evaluate(async (css) => {
    document.head.insertAdjacentHTML("beforeend", `<style>${css}</style>`);
    await customElements.whenDefined("attn-viz");
    const figures = [...document.querySelectorAll("attn-viz")].filter((figure) => figure.checkVisibility());
    for (const figure of figures) {
      figure.scrollIntoView();
      await figure.ready;
      await figure.updateComplete;
    }
    return figures.length;
  }, css);
  found[url] = { drawn, errors, problems: await page.evaluate(look) };
}

await browser.close();
process.stdout.write(JSON.stringify(found));
