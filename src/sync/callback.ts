/** Functions and Observables that a program gives to the library: their mistakes become errors of the library. */
import { catchError, defer, type Observable, type ObservableInput, throwError } from "rxjs";
import { SyncError, systemCode, toSyncError } from "./errors.js";
import type { Ignore } from "./ignore.js";

/** The error of a callback, as a {@link SyncError} with its own code, or `ERR_CALLBACK`, and with the error as its cause. */
export function callbackError(what: string, error: unknown): SyncError {
  if (error instanceof SyncError) return error;
  const { message } = toSyncError(error);
  return new SyncError(systemCode(error) ?? "ERR_CALLBACK", `${what} failed: ${message}`, { cause: error });
}

/** An Observable of the program's, made at the subscription. Errors with a {@link callbackError}. */
export function fromCallback<T>(what: string, make: () => ObservableInput<T>): Observable<T> {
  return defer(make).pipe(catchError((error) => throwError(() => callbackError(what, error))));
}

/** A predicate that throws a {@link callbackError}, and hands it over first: what walks a folder goes on behind errors of one path. */
export function guardIgnore(ignore: Ignore, onError: (error: SyncError) => void = () => {}): Ignore {
  return (path, directory) => {
    try {
      return ignore(path, directory);
    } catch (error) {
      const failure = callbackError(`ignore(${JSON.stringify(path)}, ${directory})`, error);
      onError(failure);
      throw failure;
    }
  };
}
