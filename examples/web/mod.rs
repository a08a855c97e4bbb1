//! What the five uses share: a page as one answer, with `look.css` and `link.js` inside it, so that it loads nothing.

use standpipe::Reply;

/// A page: `body`, what only it needs of style, and its script, which finds the class `Link` there.
pub(crate) fn page(title: &str, style: &str, body: &str, script: &str) -> Reply {
    let colours = include_str!("../../src/cli/pages/colours.css");
    let look = include_str!("look.css");
    let link = include_str!("link.js");
    Reply::html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{colours}{look}{style}</style>\n</head>\n<body>\n{body}\
         <script>\n{link}{script}</script>\n</body>\n</html>\n"
    ))
}
