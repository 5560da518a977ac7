// Starts Swagger UI, whose files lie beside this page; `docs.html` loads both.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
