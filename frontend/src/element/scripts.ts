/** Something that one of our scripts shares, at the place that the build has given it. */
type Shared = unknown[];
/** One of our scripts: its name, those that it needs, and what runs it, given what it may fill and what those share. */
type Script = [name: string, needs: string[], run: (own: Shared, ...needed: Shared[]) => void];

interface Queue {
  /** The modules that the scripts which have run share, by the scripts' names. */
  shared?: Record<string, Shared>;
  push(script: Script): void;
  splice(start: number): Script[];
}

/** The name of this version's scripts; build.mjs writes it. No element of a page can have it, since it is a symbol. */
declare const VERSION: string;

/**
 * Run our scripts once a page, each after those that it needs. Instant navigation may run a page's scripts in any order,
 * and again, and scripts of another version may have run before.
 */
export function runScripts(name: string, own: Shared): void {
  const key = Symbol.for(VERSION);
  const page = globalThis as unknown as Record<symbol, Queue>;
  page[key] ??= [];
  const queue = page[key];
  if (queue.shared) return;
  const shared: Record<string, Shared> = { [name]: own };
  queue.shared = shared;
  const waiting = queue.splice(0);
  const isReady = ([, needs]: Script) => needs.every((other) => shared[other]);
  const settle = () => {
    for (let at = waiting.findIndex(isReady); at >= 0; at = waiting.findIndex(isReady)) {
      const [[name, needs, run]] = waiting.splice(at, 1) as [Script];
      if (shared[name]) continue;
      shared[name] = [];
      run(shared[name], ...needs.map((other) => shared[other] as Shared));
    }
  };
  queue.push = (script) => {
    waiting.push(script);
    settle();
  };
  settle();
}
