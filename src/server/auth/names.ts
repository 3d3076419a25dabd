/** The names that people and programs can have. Pure. */
import { isVisible } from "../../text/visible.js";

const MAX_DEVICE_NAME = 64;
const MAX_TOKEN_NAME = 100;
const USER_NAME = /^[\p{L}\p{N}][\p{L}\p{N}._@-]{0,63}$/u;

/** The reason why a user cannot be called so; `undefined` when it can. */
export function userNameProblem(name: string): string | undefined {
  if (USER_NAME.test(name) && name === name.normalize("NFC")) return undefined;
  return "letters, digits and . _ @ - can be in it, up to 64";
}

/** The reason why a device cannot be renamed so; `undefined` when it can. */
export function deviceNameProblem(name: string): string | undefined {
  if (name.trim() === "" || [...name].length > MAX_DEVICE_NAME) return `it has 1 to ${MAX_DEVICE_NAME} characters`;
  return isVisible(name) ? undefined : "it has a character that cannot be seen";
}

/** The reason why a token cannot be called so; `undefined` when it can. */
export function tokenNameProblem(name: string): string | undefined {
  if (name === "" || [...name].length > MAX_TOKEN_NAME) return `it has 1 to ${MAX_TOKEN_NAME} characters`;
  return isVisible(name) ? undefined : "it has a character that cannot be seen";
}
