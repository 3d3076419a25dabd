/** Where we are, in the address behind `#`, so that the back key works and a place can be sent to somebody. */
import { useEffect, useState } from "preact/hooks";

export type Place =
  | { readonly page: "folders" | "transfers" | "devices" | "users" | "audit" }
  /** `path` is a directory in the folder; empty for its top. */
  | { readonly page: "files"; readonly folder: string; readonly path: string }
  | { readonly page: "versions"; readonly folder: string; readonly path: string };

/** Anything else leads to the folders. */
export function parsePlace(hash: string): Place {
  const [page = "", folder = "", ...path] = hash.replace(/^#\/?/, "").split("/").map(decoded);
  if ((page === "files" || page === "versions") && folder !== "") return { page, folder, path: path.join("/") };
  if (page === "transfers" || page === "devices" || page === "users" || page === "audit") return { page };
  return { page: "folders" };
}

export function hrefOf(place: Place): string {
  if (place.page !== "files" && place.page !== "versions") return `#/${place.page}`;
  return ["#", place.page, place.folder, ...place.path.split("/").filter((part) => part !== "")]
    .map((part, index) => (index === 0 ? part : encodeURIComponent(part)))
    .join("/");
}

export function usePlace(): Place {
  const [place, setPlace] = useState(() => parsePlace(location.hash));
  useEffect(() => {
    const follow = () => setPlace(parsePlace(location.hash));
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return place;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
