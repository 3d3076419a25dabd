import { useState } from "preact/hooks";
import { post } from "../api.js";
import { messageOf } from "../parts/load.js";
import { Trouble } from "../parts/show.js";

export function Login({ onLogin }: { readonly onLogin: () => void }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();

  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    setBusy(true);
    setError(undefined);
    try {
      await post("/login", { name: form.get("name"), password: form.get("password") });
      onLogin();
    } catch (reason) {
      setError(messageOf(reason));
      setBusy(false);
    }
  };

  return (
    <main class="login">
      <form onSubmit={(event) => void submit(event as unknown as SubmitEvent)}>
        <h1>Confundo</h1>
        <label>
          Name
          <input name="name" autoComplete="username" autoCapitalize="none" required />
        </label>
        <label>
          Password
          <input name="password" type="password" autoComplete="current-password" required />
        </label>
        <Trouble text={error} />
        <button type="submit" class="primary" disabled={busy}>
          Log in
        </button>
      </form>
    </main>
  );
}
