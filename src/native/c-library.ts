/**
 * Functions of the C library, called through an optional package. Everything that uses one goes on without it.
 *
 * koffi's packages of one platform each hold nothing but its binary, and run nothing at install, where `koffi` itself
 * compiles if it finds no binary. Whoever is on a platform without one may install `koffi`, or have a Node with node:ffi.
 */
import { createRequire } from "node:module";

/** `bytes` is a pointer to the memory of a Uint8Array. */
export type CType = "int" | "uint" | "bytes";

/** A function that returns an int. */
export interface CFunction {
  (...parameters: readonly (number | Uint8Array)[]): number;
  /** What errno(3) was after the last call. Absent where the way of calling cannot tell. */
  readonly errno?: () => number;
  /** The same on a thread of its own. Absent where the way of calling has none. */
  readonly promised?: (...parameters: readonly (number | Uint8Array)[]) => Promise<number>;
}

type Way = (name: string, parameters: readonly CType[]) => CFunction;

interface Koffi {
  errno(): number;
  load(library: null): { func(name: string, result: string, parameters: string[]): KoffiFunction };
}

interface KoffiFunction {
  (...parameters: readonly (number | Uint8Array)[]): number;
  async(...parameters: readonly unknown[]): void;
}

interface NodeFfi {
  dlopen(library: null, symbols: object): { functions: Record<string, CFunction> };
}

const load = createRequire(import.meta.url);
const KOFFI_TYPES = { int: "int", uint: "uint", bytes: "uint8_t *" };
const NODE_TYPES = { int: "i32", uint: "u32", bytes: "buffer" };

/**
 * The function `name` with such parameters; null where nothing that can call it is installed or permitted, where it does
 * not exist, where `works` says that it does not do what it should, or on another platform than Linux.
 */
export function cFunction(
  name: string,
  parameters: readonly CType[],
  works: (called: CFunction) => boolean,
): CFunction | null {
  if (process.platform !== "linux") return null;
  const ways = [
    () => fromKoffi(load(`@koromix/koffi-linux-${process.arch}`) as Koffi),
    () => fromKoffi(load("koffi") as Koffi),
    () => fromNode(load("node:ffi") as NodeFfi),
  ];
  for (const way of ways) {
    try {
      const called = way()(name, parameters);
      if (works(called)) return called;
    } catch {
      // Not installed, no binary for this platform, no such function, or not permitted.
    }
  }
  return null;
}

function fromKoffi(koffi: Koffi): Way {
  return (name, parameters) => {
    const called = koffi.load(null).func(
      name,
      "int",
      parameters.map((type) => KOFFI_TYPES[type]),
    );
    const promised: CFunction["promised"] = (...given) =>
      new Promise((resolve, reject) => {
        const answer = (error: unknown, result: number): void => (error ? reject(error) : resolve(result));
        called.async(...given, answer);
      });
    return Object.assign((...given: readonly (number | Uint8Array)[]) => called(...given), {
      promised,
      errno: () => koffi.errno(),
    });
  };
}

function fromNode(ffi: NodeFfi): Way {
  return (name, parameters) => {
    const signature = { arguments: parameters.map((type) => NODE_TYPES[type]), return: "i32" };
    return ffi.dlopen(null, { [name]: signature }).functions[name] as CFunction;
  };
}
