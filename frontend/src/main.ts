import { AttnViz } from "./element.js";
import { installReceiver } from "./files.js";

// Instant navigation may run this script again on the same page.
if (!customElements.get("attn-viz")) {
  installReceiver();
  customElements.define("attn-viz", AttnViz);
}
