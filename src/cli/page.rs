//! The pages of `GET /` and `GET /dashboard`. The browser gets each page as one file and loads nothing else. The source
//! is split into several files by subject.

/// The page of `GET /`.
pub(crate) const PAGE: &str = concat!(
    include_str!("pages/head.html"),
    "<style>\n",
    include_str!("pages/colours.css"),
    include_str!("pages/page.css"),
    "</style>\n",
    include_str!("pages/body.html"),
    // All scripts are one module, so a function may use a constant that a later file defines. Code that runs immediately
    // is in the last file, because all constants exist there.
    "<script type=\"module\">\n",
    include_str!("pages/log.js"),
    include_str!("pages/client.js"),
    include_str!("pages/json_mode.js"),
    include_str!("pages/page.js"),
    "</script>\n</body>\n</html>\n",
);

/// The page of `GET /dashboard`. It includes `page.css` for the styles that both pages share.
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
    include_str!("pages/clients.js"),
    include_str!("pages/servers.js"),
    include_str!("pages/experiments.js"),
    "</script>\n</body>\n</html>\n",
);
