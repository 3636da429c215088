/**
 * Show the text of `data-tip` as a tooltip while a pointer is there. With a permanent `title`, screen readers would read
 * the text twice, since it is also the element's name.
 */
export function showTips(root: Node): void {
  const tipped = (event: Event) => (event.target as Element).closest<HTMLElement>("[data-tip]");
  root.addEventListener("pointerover", (event) => {
    const element = tipped(event);
    if (element) element.title = element.dataset.tip ?? "";
  });
  root.addEventListener("pointerout", (event) => tipped(event)?.removeAttribute("title"));
}
