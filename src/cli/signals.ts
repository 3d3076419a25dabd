/** Resolves at the first SIGINT, SIGTERM, SIGQUIT or SIGHUP (a terminal that is closed); a second one then ends the process the hard way. */
export function untilSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    const signals = ["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP"] as const;
    const stop = (signal: NodeJS.Signals) => {
      for (const each of signals) process.removeListener(each, stop);
      resolve(signal);
    };
    for (const each of signals) process.on(each, stop);
  });
}
