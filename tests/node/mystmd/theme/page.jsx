// A page as mystmd's own renderers draw it; the server and the browser draw the same.
import { ANY_RENDERERS } from "@myst-theme/anywidget";
import * as providers from "@myst-theme/providers";
import { DEFAULT_RENDERERS, MyST } from "myst-to-react";

const { ArticleProvider, ReferencesProvider, ThemeProvider } = providers;
const renderers = { ...DEFAULT_RENDERERS, ...ANY_RENDERERS };
const References = ArticleProvider ?? ReferencesProvider;

export function Page({ page }) {
  const { kind, frontmatter, references, mdast } = page;
  return (
    <ThemeProvider theme="light" setTheme={() => {}} renderers={renderers}>
      <References kind={kind} frontmatter={frontmatter} references={{ ...references, article: mdast }}>
        <article>
          <h1>{frontmatter.title}</h1>
          <MyST ast={mdast.children} />
        </article>
      </References>
    </ThemeProvider>
  );
}
