"""The first sixty projects, made by hand: believable names, and at least one of each kind that surprises software."""

from __future__ import annotations

from typing import Any

PRIVATE, INTERNAL, PUBLIC = "private", "internal", "public"

RIGHT_TO_LEFT_OVERRIDE = "\u202e"
LONG_NAME = "Long-term archive of integration test fixtures and recorded traffic " * 3

# (namespace, path, name, what differs from an ordinary private project). `~dev` is dev's personal namespace.
Row = tuple[str, str, str, dict[str, Any]]

FIRST_PROJECTS: tuple[Row, ...] = (
    ("platform/infrastructure", "terraform-modules", "Terraform Modules", {"topics": ("terraform", "iac")}),
    ("platform/infrastructure", "ansible-playbooks", "Ansible Playbooks", {}),
    ("platform/infrastructure/kubernetes", "helm-charts", "Helm Charts", {"topics": ("helm",)}),
    ("platform/infrastructure/kubernetes", "operators", "Operators", {}),
    ("platform/infrastructure/kubernetes/clusters", "production", "Production", {"has_avatar": True}),
    ("platform/infrastructure/kubernetes/clusters", "staging", "Staging", {}),
    ("platform/infrastructure/network", "dns-zones", "DNS Zones", {"default_branch": "master"}),
    ("platform/identity", "sign-in-service", "Sign-in Service", {"has_avatar": True}),
    ("platform/identity", "directory-sync", "Directory Sync", {}),
    ("platform/identity", "legacy-ldap-bridge", "Legacy LDAP Bridge", {"archived": True, "default_branch": "master"}),
    ("platform/build", "ci-templates", "CI Templates", {"visibility": INTERNAL}),
    ("platform/build", "base-images", "Base Images", {"visibility": INTERNAL}),
    ("platform/build/runners", "runner-fleet", "Runner Fleet", {"visibility": INTERNAL}),
    ("platform/build/runners", "new-runner-images", "New Runner Images", {"empty": True}),
    ("web/shop", "storefront", "Storefront", {"has_avatar": True, "topics": ("python", "flask")}),
    ("web/shop", "storefront-e2e", "Storefront End-to-End Tests", {}),
    ("web/shop/checkout", "basket", "Basket", {}),
    ("web/shop/checkout", "checkout-api", "Checkout API", {"topics": ("go",)}),
    ("web/shop/checkout/payments", "payment-gateway", "Payment Gateway", {"topics": ("go", "pci")}),
    ("web/shop/checkout/payments", "invoice-renderer", "Invoice Renderer", {}),
    ("web/shop/checkout/payments", "fraud-rules", "Fraud Rules", {"object_format": "sha256"}),
    ("web/shop/catalogue", "product-search", "Product Search", {}),
    ("web/shop/catalogue", "image-resizer", "Image Resizer", {"topics": ("rust",)}),
    ("web/marketing", "landing-pages", "Landing Pages", {"visibility": INTERNAL}),
    ("web/marketing", "newsletter", "Newsletter", {"visibility": INTERNAL, "archived": True}),
    ("web/design-system", "components", "Components", {"visibility": PUBLIC, "has_avatar": True}),
    ("web/design-system", "icons", "Icons", {"visibility": PUBLIC}),
    ("data/pipelines", "orchestration", "Orchestration", {"topics": ("python", "airflow")}),
    ("data/pipelines/ingest", "event-collector", "Event Collector", {}),
    ("data/pipelines/ingest/connectors", "crm-connector", "CRM Connector", {}),
    ("data/pipelines/ingest/connectors", "billing-connector", "Billing Connector", {"empty": True}),
    ("data/warehouse", "dbt-models", "dbt Models", {"topics": ("sql", "dbt")}),
    ("data/warehouse", "schema-registry", "Schema Registry", {"object_format": "sha256"}),
    ("data/reporting", "dashboards", "Dashboards", {}),
    ("data/reporting", "wiki-and-issues-only", "Wiki and Issues Only", {"repository_enabled": False}),
    ("mobile/android", "android-app", "Android App", {"visibility": INTERNAL, "topics": ("kotlin",)}),
    ("mobile/android/libraries", "offline-cache", "Offline Cache", {"visibility": INTERNAL}),
    ("mobile/ios", "ios-app", "iOS App", {"visibility": INTERNAL, "topics": ("swift",)}),
    ("mobile/ios", "watch-extension", "Watch Extension", {"visibility": INTERNAL, "pending_deletion": True}),
    ("research/vision", "defect-detection", "Defect Detection", {"topics": ("pytorch",)}),
    ("research/language", "support-triage", "Support Triage", {}),
    ("research/language/models", "model-zoo", "Model Zoo", {}),
    ("research/language/models/evaluation", "benchmark-suite", "Benchmark Suite", {}),
    ("partners/handover", "integration-guide", "Integration Guide", {}),
    ("partners/handover", "partner-api-samples", "Partner API Samples", {}),
    ("security/incident-response", "runbooks", "Runbooks", {"shared_with": ("platform", 30)}),
    ("security", "key-ceremony", "Key Ceremony", {}),
    ("~dev", "dotfiles", "dotfiles", {"visibility": PUBLIC}),
    ("~amara.okafor", "scratchpad", "Scratchpad", {}),
    ("web/marketing", "hostile-image", "<img src=x onerror=alert(document.domain)>", {"visibility": INTERNAL}),
    ("web/marketing", "hostile-template", "{{7*7}} ${7*7} <%= 7*7 %>", {"visibility": INTERNAL}),
    ("web/marketing", "hostile-attribute", '"><b hx-get=/api/x hx-trigger=load>', {"visibility": INTERNAL}),
    ("data/reporting", "hostile-formula", "=cmd|' /C calc'!A0", {}),
    ("data/reporting", "hostile-direction", f"report-{RIGHT_TO_LEFT_OVERRIDE}fdp.exe", {}),
    ("research", "long-name", LONG_NAME.strip(), {}),
    ("mobile", "right-to-left", "مستودع التطبيقات المشتركة", {"visibility": INTERNAL}),
    ("mobile", "emoji", "🚀 Rocket 👩🏽‍💻 Launchpad", {"visibility": INTERNAL}),
    ("platform", "handbook", "Platform Handbook", {"visibility": INTERNAL, "default_branch": "trunk"}),
    ("web", "api-gateway", "API Gateway", {"visibility": INTERNAL}),
    ("data", "data-contracts", "Data Contracts", {}),
)
