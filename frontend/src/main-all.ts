import { AttnViz } from "./element.js";
import { all } from "./views/all.js";

AttnViz.define(all);
