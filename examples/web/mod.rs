//! Shared by the five example programs with a page. A page is one response that contains `look.css` and `link.js`, so
//! the browser loads nothing else.

use standpipe::Reply;

/// Returns a page made of `body`, its own `style`, and its `script`, which can use the class `Link` of `link.js`.
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
