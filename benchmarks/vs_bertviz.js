// Runs in every page of the benchmark before anything else, and measures it from inside.
//
// A picture is "there" once the call that draws it has returned and the frame that shows it has been painted. The second
// of two animation frames begins when the first has been painted, so it is the earliest moment a page can tell; waiting for
// the screen's clock adds up to 16 ms before the first and 16 ms between them. `work` leaves these waits out: time until
// drawn, plus the time from the start of the frame to a message that can only arrive once that frame has been painted.
// Rasterising SVG goes on in other threads after that, and is not counted: this favours BertViz.

const frame = () => new Promise(requestAnimationFrame);

/** Milliseconds on the main thread from the start of the next frame until it is painted. */
function paint() {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    requestAnimationFrame(() => {
      const start = performance.now();
      port1.onmessage = () => {
        port1.close();
        resolve(performance.now() - start);
      };
      port2.postMessage(0);
    });
  });
}

const attnviz = {
  async ready() {
    await customElements.whenDefined("attn-viz");
    await document.querySelector("attn-viz").ready;
  },
  /** `weights` resolves when the layer is fetched and inflated, `updateComplete` when it is drawn. */
  async show(layer) {
    const element = document.querySelector("attn-viz");
    element.state = { layer };
    await element.weights({ layer, head: 0 });
    await element.updateComplete;
  },
};

const bertviz = {
  /** It draws in one go, so that the first frame that sees its SVG sees all of it. */
  async ready() {
    while (!document.querySelector("#vis svg")) await frame();
  },
  /** Its handler draws before it returns. */
  async show(layer) {
    const select = document.querySelector("select#layer");
    select.value = String(layer);
    select.dispatchEvent(new Event("change", { bubbles: true }));
  },
};

const tool = location.pathname.startsWith("/bertviz") ? bertviz : attnviz;

async function firstPicture() {
  await tool.ready();
  await frame();
  await frame();
  return performance.now();
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
  first: firstPicture(),

  async showLayer(layer) {
    const start = performance.now();
    await tool.show(layer);
    const drawn = performance.now() - start;
    const painted = await paint();
    await frame();
    return { work: drawn + painted, seen: performance.now() - start };
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

  picture: () => document.querySelector("attn-viz").shadowRoot.querySelector("canvas").toDataURL(),
};
