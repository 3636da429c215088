import { AttnViz } from "./element/element.js";
import { all } from "./views/all.js";

AttnViz.define(all);
