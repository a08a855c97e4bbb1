//! The page of `GET /`: one file for the browser, which loads nothing else. Here it is several, one for each subject.

pub(crate) const PAGE: &str = concat!(
    include_str!("pages/head.html"),
    "<style>\n",
    include_str!("pages/page.css"),
    "</style>\n",
    include_str!("pages/body.html"),
    // One script: whoever comes first may use what comes later, once all of it has run.
    "<script type=\"module\">\n",
    include_str!("pages/log.js"),
    include_str!("pages/one.js"),
    include_str!("pages/many.js"),
    include_str!("pages/page.js"),
    "</script>\n</body>\n</html>\n",
);
