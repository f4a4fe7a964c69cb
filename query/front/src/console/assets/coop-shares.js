// The page of the latest shares.
import { byId, json, open, setText, watch } from "./console.js";
import { count } from "./format.js";
import { shareColumns } from "./coop-shares-table.js";
import { update } from "./table.js";

await open("/shares");
let limit = 50;

const watcher = watch({
  every: 2, area: byId("shares-area"), ask: () => json(`/api/shares?limit=${limit}`),
  failed: (error) => setText(byId("shares-note"), `${error.message}. ${error.hint || ""}`),
  show: ({ shares }) => {
    const accepted = shares.filter((share) => share.upstream_verdict === "accepted").length;
    setText(byId("shares-note"), `${count(shares.length)} shown, ${count(accepted)} of them accepted by the pool`);
    byId("more").hidden = shares.length < limit;
    update(byId("shares"), shareColumns, shares, { empty: "No share has come yet." });
  },
});
byId("more").addEventListener("click", () => { limit = 256; watcher.now(); });
