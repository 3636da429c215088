// Opens pages in Firefox, draws their figures and looks at their layout: `node firefox.mjs BROWSER AUDIT.js URL…`.
// Writes for each page what is wrong and which errors it logged, as JSON.
import { readFile } from "node:fs/promises";
import puppeteer from "puppeteer-core";

const [executablePath, audit, ...urls] = process.argv.slice(2);
const look = await readFile(audit, "utf8");
const browser = await puppeteer.launch({ browser: "firefox", executablePath, headless: true });
const found = {};

for (const url of urls) {
  const page = await browser.newPage();
  await page.setViewport({ width: 1280, height: 900 });
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  await page.goto(url);
  const drawn = await page.evaluate(async () => {
    await customElements.whenDefined("attn-viz");
    const figures = [...document.querySelectorAll("attn-viz")].filter((figure) => figure.checkVisibility());
    for (const figure of figures) {
      figure.scrollIntoView();
      await figure.ready;
      await figure.updateComplete;
    }
    return figures.length;
  });
  found[url] = { drawn, errors, problems: await page.evaluate(look) };
  await page.close();
}

await browser.close();
process.stdout.write(JSON.stringify(found));
