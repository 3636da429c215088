// Draws an attention figure in a page of mystmd, in place of the static picture that stands before it.
import attnviz from "./ATTNVIZ_MODULE";

/** The model, but with addresses of the scripts that it names: those of other packages' views lie beside this module. */
function withAddresses(model) {
  const scripts = (model.get("scripts") ?? []).map((name) => new URL(name, import.meta.url).href);
  return {
    get: (name) => (name === "scripts" ? scripts : model.get(name)),
    set: (name, value) => model.set(name, value),
    on: (name, callback) => model.on(name, callback),
  };
}

async function render({ model, el }) {
  const end = await attnviz.render({ model: withAddresses(model), el });
  const figure = el.getRootNode().host?.closest("figure");
  const picture = figure?.querySelector("img.attnviz-static");
  const own = el.querySelector("attn-viz > img");
  if (picture && own) {
    own.src = picture.src;
    own.closest("figure").style.margin = "0"; // mystmd's figure around it has margins
    let at = picture; // the theme puts elements of its own around an image
    while (at.parentElement !== figure && at.parentElement.children.length === 1) at = at.parentElement;
    at.style.display = "none";
  }
  return end;
}

export default { render };
