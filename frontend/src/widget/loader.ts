/**
 * The module that each widget of a notebook brings. It is small: the scripts are in models of their own, one for each
 * script in a kernel, and run once a page.
 */
interface Manager {
  get_model(id: string): Promise<{ get(name: string): DataView<ArrayBuffer> }>;
}

interface Model {
  get(name: string): unknown;
  widget_manager: Manager;
}

interface Place {
  model: Model;
  el: HTMLElement;
}

interface Module {
  default: { render(place: Place): unknown };
}

declare global {
  /** The scripts that widgets of this page have loaded, by their names, which end in their digests. */
  var attnvizScripts: Map<string, Promise<Module>> | undefined;
}

const MISSING =
  "The script of this notebook’s figures is missing: run this cell again, or restart the kernel and run all.";

globalThis.attnvizScripts ??= new Map();
const scripts = globalThis.attnvizScripts;

export default {
  async render(place: Place): Promise<unknown> {
    const { model, el } = place;
    try {
      const [module] = await Promise.all(
        Object.entries(model.get("code") as Record<string, string>).map(([name, id]) => load(name, id, model)),
      );
      return (module as Module).default.render(place);
    } catch (error) {
      console.warn(error);
      el.innerHTML = String(model.get("figure"));
      el.append(MISSING);
      return undefined;
    }
  },
};

function load(name: string, id: string, { widget_manager }: Model): Promise<Module> {
  const running = scripts.get(name) ?? run(id, widget_manager);
  scripts.set(name, running);
  running.catch(() => scripts.delete(name));
  return running;
}

async function run(id: string, manager: Manager): Promise<Module> {
  const code = (await manager.get_model(id.replace("IPY_MODEL_", ""))).get("code");
  const inflated = (new Response(code).body as ReadableStream).pipeThrough(new DecompressionStream("deflate"));
  const url = URL.createObjectURL(new Blob([await new Response(inflated).text()], { type: "text/javascript" }));
  return import(url).finally(() => URL.revokeObjectURL(url));
}
