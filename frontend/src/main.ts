import { AttnViz } from "./element/element.js";
import { attention } from "./views/index.js";

AttnViz.define(attention);
