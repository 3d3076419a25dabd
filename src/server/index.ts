/** The mirrors' home. */
export { type HomeEvent, MirrorHome, type MirrorHomeOptions } from "./home.js";
export { mirrorNameProblem } from "./name.js";
export { type ServeOptions, type Serving, serve } from "./serve.js";
