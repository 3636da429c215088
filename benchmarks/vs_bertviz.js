// Runs in every page of the benchmark before anything else, and measures it from inside.
//
// A picture is "on the screen" once the call that draws it has returned and the frame that shows it has been painted. A page
// learns this when the second of two animation frames begins. Such times hold two waits for the screen's clock: up to 16 ms
// before the first frame, and 16 ms between them. `work` is the same without them: time until the task that draws has ended
// (a canvas is rasterised at its end), plus the time from the start of the frame until a message arrives that was sent in it
// (it arrives once the frame is painted). SVG is rasterised after that, in other threads, and not counted: this favours
// BertViz.

const now = () => performance.now();
const frame = () => new Promise((begins) => requestAnimationFrame(begins));

/** A task of its own, as soon as the present one has ended. */
function task() {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = () => resolve(port1.close());
    port2.postMessage(0);
  });
}

/** When the task that asked for the last frame had ended. */
let asked = Promise.resolve(0);
const request = globalThis.requestAnimationFrame;
globalThis.requestAnimationFrame = (run) => {
  asked = task().then(now);
  return request(run);
};

/** Of both models that are measured. */
const HEADS = 12;
const modelView = location.pathname.includes("-model-");

const attnviz = {
  async ready() {
    await customElements.whenDefined("attn-viz");
    await document.querySelector("attn-viz").ready;
  },
  /** `updateComplete` asks for a frame when the layer is fetched, inflated and drawn, and resolves in this frame. */
  async show(layer) {
    const element = document.querySelector("attn-viz");
    element.state = modelView ? { open: { layer, head: 1 } } : { layer };
    await element.updateComplete;
    return { drawn: asked, first: now() };
  },
  /** It leaves weak lines out, and says so if it has. */
  share() {
    const { textContent } = document.querySelector("attn-viz").shadowRoot.querySelector(".share") ?? {};
    return Number(/\d+/.exec(textContent) ?? 100);
  },
};

const bertviz = {
  /** It draws in one go, so that the first frame that sees its SVG sees all of it. */
  async ready() {
    while (!document.querySelector("#vis svg")) await frame();
  },
  /** Its handlers draw before they return. In the model view a click opens a head; the cells come in the order of layers. */
  async show(layer) {
    if (modelView) {
      const cells = [...document.querySelectorAll("#vis svg > g")].filter((cell) => cell.lastChild?.matches("rect"));
      cells[layer * HEADS + 1].lastChild.dispatchEvent(new MouseEvent("click", { bubbles: true }));
    } else {
      const select = document.querySelector("select#layer");
      select.value = String(layer);
      select.dispatchEvent(new Event("change", { bubbles: true }));
    }
    const first = await frame().then(now);
    return { drawn: asked, first };
  },
  share: () => 100,
};

const tool = location.pathname.startsWith("/bertviz") ? bertviz : attnviz;

let drawn = 0;

async function firstPicture() {
  await tool.ready();
  drawn = now();
  await frame();
  await frame();
  return now();
}

function countNodes(root) {
  const walker = document.createTreeWalker(root);
  let count = 0;
  do count += 1 + (walker.currentNode.shadowRoot ? countNodes(walker.currentNode.shadowRoot) : 0);
  while (walker.nextNode());
  return count;
}

globalThis.bench = {
  /** Milliseconds since the start of the navigation. */
  first: firstPicture().then((time) => {
    globalThis.bench.done = true;
    return time;
  }),
  /** Addresses of what had been asked for when the first picture was drawn. */
  before() {
    const asked = performance.getEntriesByType("resource").filter(({ startTime }) => startTime <= drawn);
    return asked.map(({ name }) => name);
  },
  parsed: () => performance.getEntriesByType("navigation")[0].domInteractive,

  async showLayer(layer) {
    const start = now();
    const { drawn, first } = await tool.show(layer); // in the first frame
    const second = frame();
    const painted = task().then(now);
    await second;
    const seen = now() - start;
    // Behind time, a frame comes before any other task.
    return { work: Math.min(await drawn, first) - start + (await painted) - first, seen };
  },

  nodes: () => countNodes(document),

  /** All weights of a layer, shape (heads, rows, cols), as base64 of 32-bit floats. */
  async weights(layer, heads) {
    const element = document.querySelector("attn-viz");
    const found = [];
    for (let head = 0; head < heads; head++) found.push((await element.weights({ layer, head })).values);
    const bytes = new Uint8Array(Float32Array.from(found.flat(2)).buffer);
    return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  },

  share: () => tool.share(),

  /** What all canvases show. */
  picture() {
    const canvases = document.querySelector("attn-viz").shadowRoot.querySelectorAll("canvas");
    return [...canvases].map((canvas) => canvas.toDataURL()).join();
  },
};
