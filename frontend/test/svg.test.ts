import assert from "node:assert/strict";
import { test } from "node:test";
import { escapeXml, SvgPen } from "../src/charts/svg.js";

test("what XML forbids is replaced, what it reserves is escaped", () => {
  assert.equal(escapeXml('</svg>&"'), "&lt;/svg&gt;&amp;&quot;");
  assert.equal(escapeXml("a\0b\u001b\ud800c"), "a\ufffdb\ufffd\ufffdc");
  assert.equal(escapeXml("👩 שלום 日本"), "👩 שלום 日本");
});

test("a pen writes what a canvas would draw", () => {
  const pen = new SvgPen("#123456");
  pen.moveBy(10, 20);
  Object.assign(pen, { globalAlpha: 0.5, strokeStyle: "#ff0000", fillStyle: "#00ff00" });
  pen.beginPath();
  pen.moveTo(0, 0);
  pen.quadraticCurveTo(1, 2, 5, 6.123);
  pen.stroke();
  pen.fillRect(1, 1, 2, 3);
  pen.text("<b>", 0, 0, { anchor: "end" });
  const [path, rect, text] = String(pen).split("\n") as [string, string, string];
  assert.match(path, /d="M10 20Q11 22 15 26.12" .*stroke="#ff0000" .*opacity="0.5"/);
  assert.match(rect, /x="11" y="21" width="2" height="3" fill="#00ff00"/);
  assert.match(text, /text-anchor="end" fill="#123456".*>&lt;b&gt;</);
});
