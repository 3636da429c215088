/**
 * Data files are classic scripts, because `fetch` does not work from disk. Each calls the one global function
 * `attnvizData(base64, …)`. A file is loaded once a page, however many figures look at it.
 *
 * A page may hold markup that its author did not write, so nothing here trusts the page: elements that are named like a
 * property of `document` do not hide it, and a file is loaded only if it has a name of ours and lies beside this script.
 */

/** The script that runs now; `<img name="currentScript">` would shadow the plain property. */
function currentScript(): HTMLScriptElement | null {
  const getter = Object.getOwnPropertyDescriptor(Document.prototype, "currentScript")?.get;
  return (getter?.call(document) as HTMLScriptElement | null | undefined) ?? null;
}

const folder = new URL(".", currentScript()?.src || location.href);
/** The name of a data file: the SHA-256 of its content. */
const NAME = /^[0-9a-f]{64}\.js$/;
const received = new Map<string, string[]>();
const loading = new Map<string, Promise<string[]>>();

declare global {
  var attnvizData: (...parts: string[]) => void;
  var trustedTypes: { createPolicy(name: string, rules: object): { createScriptURL(url: string): string } } | undefined;
}

export function installReceiver(): void {
  globalThis.attnvizData = (...parts) => {
    const name = currentScript()?.src.split("/").pop();
    if (name) received.set(name, parts);
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

/** Return the digest for the browser's integrity check; "" for files from disk or other hosts, where it would fail. */
function integrity(name: string): string {
  if (folder.origin !== location.origin || !folder.protocol.startsWith("http")) return "";
  return `sha256-${btoa(name.slice(0, 64).replace(/../g, (byte) => String.fromCharCode(Number.parseInt(byte, 16))))}`;
}

function insertScript(name: string): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = scriptUrl(name);
    script.integrity = integrity(name);
    script.onload = script.onerror = () => {
      script.remove();
      const parts = received.get(name);
      received.delete(name);
      if (parts) resolve(parts);
      else reject(new Error(`${name} could not be loaded`));
    };
    document.head.append(script);
  });
}

export function loadFile(name: string): Promise<string[]> {
  const running = loading.get(name);
  if (running) return running;
  const started = insertScript(name);
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
