import type { LayerSource } from "./figure.js";

/** "keys 0" for a head that shares its keys with others, and the heads that do: "heads 0–3"; none if it shares them not. */
export function sharedKeys({ heads, kv_heads }: Pick<LayerSource, "heads" | "kv_heads">, head: number): string[] {
  if (!kv_heads || kv_heads === heads) return [];
  const size = heads / kv_heads;
  const keys = Math.floor(head / size);
  return [`keys ${keys}`, `heads ${keys * size}–${(keys + 1) * size - 1}`];
}
