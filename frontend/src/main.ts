import { AttnViz } from "./element.js";
import { attention } from "./views/index.js";

AttnViz.define(attention);
