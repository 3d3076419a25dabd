/** The mirrors' home. */
export { type HomeEvent, MirrorHome, type MirrorHomeOptions } from "./home.js";
export { mirrorNameProblem } from "./name.js";
