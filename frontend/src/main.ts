import { AttnViz } from "./element/element.js";
import { runScripts } from "./element/scripts.js";

/** Begin with what this script, of the given name, shares with the page's others. */
export function begin(name: string, shared: unknown[]): void {
  AttnViz.publish();
  runScripts(name, shared);
}
