// Orders that cannot be taken back are confirmed by typing.
import { byId } from "./console.js";

// The page has the dialog. Without a `word` one button is enough.
export function confirm(title, text, word, action) {
  const dialog = byId("confirm"), typed = byId("confirm-word"), yes = byId("confirm-yes");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-wanted").textContent = word;
  byId("confirm-type").hidden = !word;
  yes.textContent = action;
  typed.value = "";
  yes.disabled = Boolean(word);
  typed.oninput = () => { yes.disabled = typed.value.trim() !== word; };
  dialog.returnValue = "no";
  dialog.showModal();
  (word ? typed : yes).focus();
  return new Promise((resolve) => { dialog.onclose = () => resolve(dialog.returnValue === "yes"); });
}
