//! docs/BRAND.md: the theme file, its faults, and the languages of the pages.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;
use std::path::PathBuf;

use harness::{App, Launch, Reply, fetch};
use reqwest::Method;
use serde_json::json;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest";
const THEME: &str = r##"
name = "Nordlicht & Söhne"
logo = "logo.svg"
favicon = "icon.png"
image = "icon.png"
public_url = "https://nordlicht.example"
locale = "de"
time_zone = "Europe/Berlin"

[colors.light]
accent = "#7a1f5c"

[colors.dark]
accent = "#f0a6d6"
accent_ink = "#2b0a20"

[locale_files]
fr = "fr.json"

[footer]
text = { de = "Geöffnet von 9 bis 17 Uhr", en = "Open from 9 to 5" }
links = [
  { text = { de = "Impressum", en = "Imprint" }, href = "https://nordlicht.example/imprint" },
  { text = "<script>alert(1)</script>", href = "/privacy?a=1&b=2" },
]

[texts.de]
"shop.title" = "Nur <b>heute</b>."
"##;

/// Writes a theme and its files into the data directory.
fn write(launch: &Launch, theme: &str) -> PathBuf {
    let directory = launch.data_dir().to_owned();
    fs::create_dir_all(&directory).unwrap();
    let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
    fs::write(directory.join("logo.svg"), svg).unwrap();
    fs::write(directory.join("icon.png"), PNG).unwrap();
    let english: serde_json::Value =
        serde_json::from_str(include_str!("../../api/src/web/texts/en.json")).unwrap();
    let mut about = english["@language"].clone();
    about["name"] = json!("Français");
    about["numbers"] = json!("fr");
    let french = json!({ "@language": about, "cart.title": "Votre panier" });
    fs::write(directory.join("fr.json"), french.to_string()).unwrap();
    let path = directory.join("shop.toml");
    fs::write(&path, theme).unwrap();
    path
}

async fn themed(theme: &str) -> App {
    let launch = Launch::fresh().await;
    let path = write(&launch, theme);
    launch
        .with("HOLDFAST_THEME", path.to_str().unwrap())
        .start()
        .await
}

async fn read(app: &App, path: &str, headers: &[(&str, &str)]) -> Reply {
    let request = app.request(Method::GET, path);
    let add = |request: reqwest::RequestBuilder, (name, value): &(&str, &str)| {
        request.header(*name, *value)
    };
    fetch(headers.iter().fold(request, add)).await
}

#[tokio::test]
async fn theme_decides_name_pictures_colors_footer_and_texts() {
    let app = themed(THEME).await;
    let page = app.get("/").await;
    let html = page.text();
    for part in [
        "<html lang=\"de\" data-time-zone=\"Europe/Berlin\">",
        "<title>Nordlicht &amp; Söhne</title>",
        "<img src=\"/assets/brand/logo.svg\" alt=\"\" class=\"logo\"",
        "<link rel=\"icon\" href=\"/assets/brand/favicon.png\" type=\"image/png\">",
        "<link rel=\"canonical\" href=\"https://nordlicht.example/\">",
        "<meta property=\"og:image\" content=\"https://nordlicht.example/assets/brand/share.png\">",
        "Geöffnet von 9 bis 17 Uhr",
        "<a href=\"https://nordlicht.example/imprint\" dir=\"auto\">Impressum</a>",
        "<a href=\"/privacy?a=1&amp;b=2\" dir=\"auto\">&lt;script&gt;alert(1)&lt;/script&gt;</a>",
        "<h1>Nur &lt;b&gt;heute&lt;/b&gt;.</h1>",
        "Français</a>",
    ] {
        assert!(html.contains(part), "{part}\n{html}");
    }
    let policy = page.header("content-security-policy");
    assert!(policy.contains("style-src 'self';"), "{policy}");
    assert!(!html.contains("style="), "{html}");
    assert!(!html.contains("<style"), "{html}");

    let sheet = app.get("/theme.css").await;
    assert_eq!(sheet.header("content-type"), "text/css; charset=utf-8");
    let (light, dark) = {
        let sheet = sheet.text();
        let (light, dark) = sheet.split_once("@media").unwrap();
        (light.to_owned(), dark.to_owned())
    };
    assert!(light.contains("--accent: #7a1f5c;"), "{light}");
    assert!(
        dark.contains("--accent: #f0a6d6; --accent-ink: #2b0a20;"),
        "{dark}"
    );

    let logo = app.get("/assets/brand/logo.svg").await;
    assert_eq!(logo.header("content-type"), "image/svg+xml");
    assert!(logo.header("content-security-policy").contains("sandbox"));
    let icon = app.get("/favicon.ico").await;
    assert_eq!(icon.header("content-type"), "image/png");
    let again = read(
        &app,
        "/favicon.ico",
        &[("if-none-match", icon.header("etag"))],
    )
    .await;
    assert_eq!(again.status, 304);
    app.get("/assets/brand/other.svg")
        .await
        .problem(404, "not_found");

    // The dashboard and the reference are in English.
    let dashboard = app.get("/admin").await.text();
    assert!(dashboard.contains("<html lang=\"en\""), "{dashboard}");
    assert!(dashboard.contains("Admin key"), "{dashboard}");
}

#[tokio::test]
async fn theme_in_the_data_directory_needs_no_setting() {
    let launch = Launch::fresh().await;
    let path = write(&launch, "name = \"Nebenan\"\n");
    fs::rename(path, launch.data_dir().join("theme.toml")).unwrap();
    let app = launch.start().await;
    assert!(
        app.get("/cart")
            .await
            .text()
            .contains("<span>Nebenan</span>")
    );
    let launch = app.stop().await;
    // The setting precedes the file.
    let other = write(&launch, "name = \"Gegenüber\"\n");
    let launch = launch.with("HOLDFAST_THEME", other.to_str().unwrap());
    let launch = launch.with("HOLDFAST_PUBLIC_URL", "https://gegenueber.example");
    let app = launch.start().await;
    let html = app.get("/").await.text();
    assert!(html.contains("<title>Gegenüber</title>"), "{html}");
    assert!(
        html.contains("href=\"https://gegenueber.example/\""),
        "{html}"
    );
}

#[tokio::test]
async fn fault_in_a_theme_stops_the_start_with_one_line() {
    for (theme, fault) in [
        ("nmae = \"x\"", "nmae: unknown key; did you mean name?"),
        (
            "[colors.light]\naccent = \"#2aa37f\"",
            "colors.light: accent #2aa37f on card #fffefb has a contrast of 3.13; WCAG AA requires 4.5",
        ),
        (
            "logo = \"icon.svg\"",
            "cannot be read: No such file or directory (os error 2)",
        ),
        (
            "logo = \"shop.toml\"",
            "must be a file of type svg, png, jpg, webp",
        ),
        ("name = [", "line 1: "),
        (
            "locale = \"xx\"",
            "locale: xx has no catalogue; there are en, de, he. [locale_files] adds one",
        ),
    ] {
        let launch = Launch::private();
        let path = write(&launch, theme);
        let shown = path.to_str().unwrap();
        for (arguments, code) in [
            (vec!["theme", "check", shown], 1),
            (vec!["serve", "--theme", shown], 2),
        ] {
            let refused = launch.run(&arguments).await;
            assert_eq!(refused.code, Some(code), "{refused:?}");
            let line = refused.stderr.trim_end();
            assert_eq!(line.lines().count(), 1, "{line}");
            assert!(line.contains(&format!("theme {shown}: ")), "{line}");
            assert!(line.contains(fault), "{line}");
        }
    }
    let refused = Launch::private()
        .with("HOLDFAST_PUBLIC_URL", "https://a.example/?b")
        .run(&["serve"])
        .await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("must not have a query"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn example_of_a_theme_loads_and_changes_nothing() {
    let launch = Launch::fresh().await;
    let example = launch.run(&["theme", "example"]).await;
    assert_eq!(example.code, Some(0), "{example:?}");
    let path = write(&launch, &example.stdout);
    let checked = launch
        .run(&["theme", "check", path.to_str().unwrap()])
        .await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(
        checked
            .stdout
            .contains("is valid: Holdfast: languages en, de, he"),
        "{}",
        checked.stdout
    );
    let plain = launch.start().await;
    let without = plain.get("/theme.css").await;
    let (page, sheet) = (plain.get("/cart").await.text(), without.text());
    let launch = plain.stop().await;
    let app = launch
        .with("HOLDFAST_THEME", path.to_str().unwrap())
        .start()
        .await;
    assert_eq!(app.get("/cart").await.text(), page);
    assert_eq!(app.get("/theme.css").await.text(), sheet);

    let texts = Launch::private().run(&["theme", "texts", "de"]).await;
    let texts: serde_json::Value = serde_json::from_str(&texts.stdout).unwrap();
    assert_eq!(texts["nav.cart"], "Warenkorb");
    let unknown = Launch::private().run(&["theme", "texts", "xx"]).await;
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown
            .stderr
            .contains("the program has no language xx; it has en, de and he")
    );
}

#[tokio::test]
async fn page_is_in_the_language_of_choice_theme_or_browser() {
    let app = App::start().await;
    let lang = |reply: &Reply| reply.header("content-language").to_owned();
    for (path, accept, expected) in [
        ("/", "", "en"),
        ("/cart", "de-AT,de;q=0.9", "de"),
        ("/creators", "he", "he"),
        ("/cart", "fr", "en"),
        ("/cart?lang=he", "de", "he"),
        ("/cart?lang=xx", "de", "de"),
    ] {
        let page = read(&app, path, &[("accept-language", accept)]).await;
        assert_eq!(lang(&page), expected, "{path} {accept}");
        assert_eq!(page.header("vary"), "Accept-Language, Cookie");
        let html = page.text();
        assert!(
            html.contains(&format!("<html lang=\"{expected}\"")),
            "{html}"
        );
        assert_eq!(html.contains(" dir=\"rtl\">"), expected == "he", "{html}");
        for link in ["?lang=en", "?lang=de", "?lang=he"] {
            assert!(html.contains(&format!("<a href=\"{link}\"")), "{link}");
        }
        assert_eq!(html.matches("aria-current=\"true\"").count(), 1, "{html}");
    }
    let chosen = app.get("/cart?lang=de").await;
    let cookie = chosen
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(cookie, "holdfast_lang=de");
    let kept = read(&app, "/", &[("cookie", &cookie), ("accept-language", "he")]).await;
    assert_eq!(
        (lang(&kept), kept.header("set-cookie")),
        ("de".to_owned(), "")
    );
    // A tag of one language does not confirm the page of another.
    let other = read(
        &app,
        "/cart?lang=he",
        &[("if-none-match", chosen.header("etag"))],
    )
    .await;
    assert_eq!(other.status, 200);
    let same = read(
        &app,
        "/cart?lang=de",
        &[("if-none-match", chosen.header("etag"))],
    )
    .await;
    assert_eq!((same.status, lang(&same)), (304, "de".to_owned()));
    let missing = read(
        &app,
        "/nowhere",
        &[("accept", "text/html"), ("accept-language", "de")],
    )
    .await;
    assert_eq!(missing.status, 404);
    assert!(
        missing.text().contains("<h1>Seite nicht gefunden</h1>"),
        "{}",
        missing.text()
    );
    assert_eq!(missing.header("vary"), "Accept, Accept-Language, Cookie");
}

#[tokio::test]
async fn texts_are_modules_of_the_nearest_language() {
    let app = themed(THEME).await;
    for (name, tag, title) in [
        ("de", "de", "Dein Warenkorb"),
        ("de-CH", "de", "Dein Warenkorb"),
        ("fr", "fr", "Votre panier"),
        ("en", "en", "Your cart"),
        ("xx", "de", "Dein Warenkorb"),
    ] {
        let module = app.get(&format!("/assets/texts/{name}.js")).await;
        assert_eq!(
            module.header("content-type"),
            "text/javascript; charset=utf-8"
        );
        assert_eq!(
            module.header("cross-origin-resource-policy"),
            "cross-origin"
        );
        let code = module.text();
        let data = code.strip_prefix("export default ").unwrap();
        let data: serde_json::Value =
            serde_json::from_str(data.trim_end().trim_end_matches(';')).unwrap();
        assert_eq!(data["tag"], tag, "{name}");
        assert_eq!(data["messages"]["cart.title"], title, "{name}");
        // The English text where the shop's own catalogue has none.
        assert!(data["messages"]["nav.cart"].is_string(), "{name}");
    }
    app.get("/assets/texts/de.json")
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn dashboard_has_english_texts_where_the_shop_has_none() {
    let app = themed("locales = [\"de\"]\nlocale = \"de\"\n").await;
    let page = app.get("/cart?lang=en").await;
    assert_eq!(page.header("content-language"), "de");
    assert!(!page.text().contains("?lang="), "{}", page.text());
    let module = app.get("/assets/texts/en.js").await.text();
    assert!(module.contains("\"tag\":\"en\""), "{module}");
}
