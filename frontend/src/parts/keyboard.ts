/** Focus an element because a key was pressed. Without the option WebKit takes it for the mouse's work after a click. */
export function focusByKey(element: HTMLElement | undefined): void {
  element?.focus({ focusVisible: true });
}
