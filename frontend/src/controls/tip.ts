/**
 * Shows what `data-tip` says as a tooltip while a pointer is there. A `title` that stays would be told by screen readers
 * besides the same text that is the element's name.
 */
export function showTips(root: Node): void {
  const tipped = (event: Event) => (event.target as Element).closest<HTMLElement>("[data-tip]");
  root.addEventListener("pointerover", (event) => {
    const element = tipped(event);
    if (element) element.title = element.dataset.tip ?? "";
  });
  root.addEventListener("pointerout", (event) => tipped(event)?.removeAttribute("title"));
}
