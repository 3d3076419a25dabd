import { useState } from "preact/hooks";
import { visibleLabel } from "../../text/visible.js";
import { post, put, remove, type User } from "../api.js";
import { Dialog } from "../parts/dialog.js";
import { useListed } from "../parts/load.js";
import { useShell } from "../parts/shell.js";
import { Badge, Shown, Table, Time, Trouble } from "../parts/show.js";

type Asked = { readonly do: "add" } | { readonly do: "password" | "remove"; readonly user: User };

export function Users() {
  const { me, say } = useShell();
  const { items, error, reload, more } = useListed<User>("/users");
  const [asked, setAsked] = useState<Asked>();
  const close = () => setAsked(undefined);

  return (
    <>
      <header class="page">
        <h1>Users</h1>
        <div class="buttons">
          <button type="button" class="primary" onClick={() => setAsked({ do: "add" })}>
            Add a user
          </button>
        </div>
      </header>
      <Trouble text={error} />
      <Table
        caption="Users"
        rows={items}
        keyOf={({ id }) => id}
        empty="There are none."
        more={more}
        columns={[
          { title: "Name", of: ({ name }) => <Shown of={name} /> },
          { title: "Role", of: ({ role }) => <Badge kind={role}>{role}</Badge> },
          { title: "Since", of: ({ createdAt }) => <Time at={createdAt} /> },
          {
            title: "Actions",
            hidden: true,
            of: (user) => (
              <span class="buttons">
                <button
                  type="button"
                  aria-label={`Change the password of ${visibleLabel(user.name)}`}
                  onClick={() => setAsked({ do: "password", user })}
                >
                  Password
                </button>
                {user.id === me.user.id ? null : (
                  <button
                    type="button"
                    class="danger"
                    aria-label={`Remove ${visibleLabel(user.name)}`}
                    onClick={() => setAsked({ do: "remove", user })}
                  >
                    Remove
                  </button>
                )}
              </span>
            ),
          },
        ]}
      />
      {asked?.do === "add" ? (
        <Dialog
          title="Add a user"
          action="Add"
          onClose={close}
          onAction={async (form) => {
            await post("/users", Object.fromEntries(form));
            say(`User ${String(form.get("name"))} is added.`);
            reload();
          }}
        >
          <label>
            Name
            <input name="name" required autoFocus maxLength={200} autoCapitalize="none" autoComplete="off" />
          </label>
          <Password />
          <label>
            Role
            <select name="role">
              <option value="user">user</option>
              <option value="admin">administrator</option>
            </select>
          </label>
        </Dialog>
      ) : null}
      {asked?.do === "password" ? (
        <Dialog
          title={`A new password for ${asked.user.name}`}
          action="Change it"
          onClose={close}
          onAction={async (form) => {
            const oldPassword = form.get("oldPassword");
            await put(`/users/${encodeURIComponent(asked.user.name)}/password`, {
              password: form.get("password"),
              endTokens: form.get("endTokens") !== null,
              ...(oldPassword === null ? {} : { oldPassword }),
            });
            say(`The password of ${asked.user.name} is changed.`);
            reload();
          }}
        >
          <p>
            It ends the sessions of <Shown of={asked.user.name} />
            {asked.user.id === me.user.id ? ", this one too." : "."}
          </p>
          {asked.user.id === me.user.id ? (
            <label>
              The old password
              <input name="oldPassword" type="password" required autoFocus autoComplete="current-password" />
            </label>
          ) : null}
          <Password />
          <label class="check">
            <input name="endTokens" type="checkbox" /> End the API tokens, too
          </label>
        </Dialog>
      ) : null}
      {asked?.do === "remove" ? (
        <Dialog
          title={`Remove ${asked.user.name}?`}
          action="Remove"
          dangerous
          onClose={close}
          onAction={async () => {
            await remove(`/users/${encodeURIComponent(asked.user.name)}`);
            say(`${asked.user.name} is removed.`);
            reload();
          }}
        >
          <p>With its tokens and permissions. Folders and devices stay.</p>
        </Dialog>
      ) : null}
    </>
  );
}

function Password() {
  return (
    <label>
      Password
      <input name="password" type="password" required minLength={10} maxLength={1000} autoComplete="new-password" />
    </label>
  );
}
