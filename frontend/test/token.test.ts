import assert from "node:assert/strict";
import { test } from "node:test";
import { columnWidth, pieces, plainText } from "../src/lib/token.js";
import signs from "./signs.json";

/** Pale pieces in angle brackets. */
const shown = (token: string) =>
  pieces(token)
    .map(({ text, pale }) => (pale ? `‹${text}›` : text))
    .join("");

test("what could not be seen is shown pale", () => {
  const cases: Record<string, string> = {
    " rabbit": "‹·›rabbit",
    "New York": "New York",
    "a  b ": "a‹··›b‹·›",
    "\n": "‹⏎›",
    "\n\t": "‹⏎›‹⇥›",
    "a\0b": "a‹␀›b",
    "\x7f": "‹␡›",
    "\u202eevil": "‹U+202E›evil",
    "\u200d": "‹U+200D›",
    "": "‹∅›",
    "\u0301": "◌\u0301",
  };
  for (const [token, expected] of Object.entries(cases)) assert.equal(shown(token), expected);
});

test("signs are those of static pictures", () => {
  for (const [token, expected] of signs as [string, string][])
    assert.equal(
      pieces(token)
        .map(({ text }) => text)
        .join(""),
      expected,
    );
});

test("text is left as it is", () => {
  for (const token of ["</script>", "<img src=x onerror=alert(1)>", "שלום", "日本語", "👩‍👩‍👧", "##ing", "é"])
    assert.equal(shown(token), token);
});

test("a name is plain text, or the marks if there is nothing else", () => {
  assert.equal(plainText(" rabbit"), "rabbit");
  assert.equal(plainText("\n"), "⏎");
});

test("columns are as wide as their longest token, within limits", () => {
  assert.equal(columnWidth(["a", " rabbit"]), "7ch");
  assert.equal(columnWidth(["日本"]), "4ch");
  assert.equal(columnWidth(["x".repeat(99)]), "20ch");
});
