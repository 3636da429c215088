/**
 * Data files are classic scripts, because `fetch` does not work from disk. Each calls the one global function
 * `attnvizData(name, base64, …)`. A file is loaded once a page, however many figures look at it.
 */
const folder = new URL(".", (document.currentScript as HTMLScriptElement | null)?.src || document.baseURI);
const received = new Map<string, string[]>();
const loading = new Map<string, Promise<string[]>>();

declare global {
  var attnvizData: (name: string, ...parts: string[]) => void;
}

export function installReceiver(): void {
  globalThis.attnvizData = (name, ...parts) => void received.set(name, parts);
}

function insertScript(name: string): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL(name, folder).href;
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

/** A damaged file is to be fetched anew on the next attempt. */
export function forgetFile(name: string): void {
  loading.delete(name);
}
