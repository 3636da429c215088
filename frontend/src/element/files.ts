import { unpack } from "../lib/data-file.js";

/**
 * Data files are fetched. From disk, where `fetch` does not work, and where a page's policy forbids it, they are classic
 * scripts: each calls the one global function `attnvizData("…")` with its bytes. A file is loaded once a page, however
 * many figures look at it.
 *
 * A page may hold markup that its author did not write, so nothing here trusts the page: elements that are named like a
 * property of `document` do not hide it, and a file is loaded only if it has a name of ours and lies beside this script.
 */

/** The script that runs now; `<img name="currentScript">` would shadow the plain property. */
function currentScript(): HTMLScriptElement | null {
  const getter = Object.getOwnPropertyDescriptor(Document.prototype, "currentScript")?.get;
  return (getter?.call(document) as HTMLScriptElement | null | undefined) ?? null;
}

type Parts = ReturnType<typeof unpack>;

const QUOTE = 34;
/** The address of this module, unless it was made of a text; build.mjs replaces it in classic scripts by nothing. */
const address = (import.meta.url as string | undefined)?.replace(/^(?!http).*/, "");
const folder = new URL(".", currentScript()?.src || address || location.href);
const fromServer = folder.protocol.startsWith("http");
/** The name of a data file: the SHA-256 of its content. In mystmd, which rewrites scripts as text, it ends in `.bin`. */
const NAME = /^[0-9a-f]{64}\.(js|bin)$/;
const received = new Map<string, string>();
/** The data files of this page, by name. Widgets put those here that they bring. */
export const loading = new Map<string, Promise<Parts>>();

declare global {
  var attnvizData: (text: string) => void;
  var trustedTypes: { createPolicy(name: string, rules: object): { createScriptURL(url: string): string } } | undefined;
}

export function installReceiver(): void {
  globalThis.attnvizData = (text) => {
    const name = currentScript()?.src.split("/").pop();
    if (name) received.set(name, text);
  };
}

const rules = { createScriptURL: checkedUrl };
let policy: typeof rules | undefined;

/** The address of a data file. Throws for any other name. */
function checkedUrl(name: string): string {
  if (!NAME.test(name)) throw new TypeError(`${name} is not the name of a data file`);
  return new URL(name, folder).href;
}

/** Return `checkedUrl` made by a policy named `attnviz`, which pages under Trusted Types need. */
function scriptUrl(name: string): string {
  policy ??= globalThis.trustedTypes?.createPolicy("attnviz", rules) ?? rules;
  return policy.createScriptURL(name);
}

/** Return the digest for the browser's integrity check. */
function digest(name: string): string {
  return `sha256-${btoa(name.slice(0, 64).replace(/../g, (byte) => String.fromCharCode(Number.parseInt(byte, 16))))}`;
}

async function fetchFile(name: string): Promise<Parts> {
  const response = await fetch(checkedUrl(name), { integrity: digest(name) });
  return partsOf(new Uint8Array(await response.arrayBuffer()));
}

/** Return the parts that a data file's bytes hold. */
export function partsOf(bytes: Uint8Array): Parts {
  return unpack(bytes.subarray(bytes.indexOf(QUOTE) + 1, bytes.lastIndexOf(QUOTE)));
}

/** The bytes of a script's string. Throws if the server has declared a character set, in which they cannot be read. */
function bytesOf(name: string, text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 127 && code >> 7 !== 0xf780 >> 7)
      throw new Error(`${name} could not be fetched; the page's policy must allow it (connect-src)`);
    bytes[i] = code;
  }
  return bytes;
}

function insertScript(name: string): Promise<Parts> {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.charset = "x-user-defined";
    script.src = scriptUrl(name);
    // The check would fail for files from disk or other hosts.
    if (fromServer && folder.origin === location.origin) script.integrity = digest(name);
    script.onload = script.onerror = () => {
      script.remove();
      const text = received.get(name);
      received.delete(name);
      try {
        if (text === undefined) throw new Error(`${name} could not be loaded`);
        resolve(unpack(bytesOf(name, text)));
      } catch (error) {
        reject(error);
      }
    };
    document.head.append(script);
  });
}

export function loadFile(name: string): Promise<Parts> {
  const running = loading.get(name);
  if (running) return running;
  const started = fromServer ? fetchFile(name).catch(() => insertScript(name)) : insertScript(name);
  loading.set(name, started);
  started.catch(() => loading.delete(name));
  return started;
}

/** Fetches a file that is likely to be looked at next; if that fails, it is fetched when it is. */
export function fetchAhead(name: string | undefined): void {
  const { connection } = navigator as Navigator & { connection?: { saveData: boolean } };
  if (name && !connection?.saveData) loadFile(name).catch(() => {});
}

/** Forget a damaged file, so that the next attempt fetches it again. */
export function forgetFile(name: string): void {
  loading.delete(name);
}
