//! The page of `GET /`: one file for the browser, which loads nothing else. Here it is several, one for each subject.

pub(crate) const PAGE: &str = concat!(
    include_str!("pages/head.html"),
    "<style>\n",
    include_str!("pages/colours.css"),
    include_str!("pages/page.css"),
    "</style>\n",
    include_str!("pages/body.html"),
    // One script: whoever comes first may use what comes later, once all of it has run.
    "<script type=\"module\">\n",
    include_str!("pages/log.js"),
    include_str!("pages/client.js"),
    include_str!("pages/json_mode.js"),
    include_str!("pages/page.js"),
    "</script>\n</body>\n</html>\n",
);

/// The page of `GET /dashboard`. `page.css` comes first: it has what stands in both.
pub(crate) const DASHBOARD: &str = concat!(
    include_str!("pages/dashboard_head.html"),
    "<style>\n",
    include_str!("pages/colours.css"),
    include_str!("pages/page.css"),
    include_str!("pages/dashboard.css"),
    "</style>\n",
    include_str!("pages/dashboard_body.html"),
    "<script type=\"module\">\n",
    include_str!("pages/dashboard.js"),
    include_str!("pages/experiments.js"),
    "</script>\n</body>\n</html>\n",
);
