import assert from "node:assert/strict";
import { test } from "node:test";
import { stepped, walkByKey } from "../src/controls/keyboard.js";

/** Return the effects of a key: the places it leads to, or "chosen", and "kept" if the browser is kept from it. */
function pressed(key: string, more: Partial<KeyboardEvent> = {}, pages = false): unknown[] {
  const done: unknown[] = [];
  const event = {
    key,
    altKey: false,
    ctrlKey: false,
    metaKey: false,
    preventDefault: () => done.push("kept"),
    ...more,
  };
  walkByKey(
    event as unknown as KeyboardEvent,
    (down, right) => void done.push([down, right]),
    () => void done.push("chosen"),
    pages,
  );
  return done;
}

test("arrows, Home and End walk, Enter and space choose, and no other key is taken", () => {
  assert.deepEqual(pressed("ArrowUp"), [[-1, 0], "kept"]);
  assert.deepEqual(pressed("ArrowRight"), [[0, 1], "kept"]);
  assert.deepEqual(pressed("End"), [[0, Number.POSITIVE_INFINITY], "kept"]);
  assert.deepEqual(pressed("Enter"), ["chosen", "kept"]);
  assert.deepEqual(pressed(" "), ["chosen", "kept"]);
  for (const key of ["a", "Tab", "Escape", "PageDown"]) assert.deepEqual(pressed(key), [], key);
  assert.deepEqual(pressed("PageDown", {}, true), [[Number.POSITIVE_INFINITY, 0], "kept"]);
});

test("keys with a modifier are the browser's", () => {
  for (const modifier of ["altKey", "ctrlKey", "metaKey"])
    assert.deepEqual(pressed("ArrowLeft", { [modifier]: true }), [], modifier);
});

test("a key that means nothing here stays the browser's", () => {
  const event = { key: "ArrowLeft", preventDefault: () => assert.fail() } as unknown as KeyboardEvent;
  walkByKey(event, () => false);
  walkByKey({ ...event, key: "Enter" }, () => assert.fail());
});

test("no step leads out of a grid", () => {
  const [rows, cols] = [
    { start: 2, end: 5 },
    { start: 0, end: 4 },
  ];
  const from = { row: 2, col: 3 };
  assert.deepEqual(stepped(from, -1, 0, rows, cols), from);
  assert.deepEqual(stepped(from, 1, 0, rows, cols), { row: 3, col: 3 });
  assert.deepEqual(stepped(from, 0, Number.NEGATIVE_INFINITY, rows, cols), { row: 2, col: 0 });
  assert.deepEqual(stepped(from, Number.POSITIVE_INFINITY, 1, rows, cols), { row: 4, col: 3 });
});
