// Starts Swagger UI, whose files lie beside this page; `docs.html` loads both.
const key = sessionStorage.getItem("ovation-key"); // what the page was given in this tab, if anything

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  requestInterceptor: (request) => {
    const own = new URL(request.url, location.href).origin === location.origin;
    if (key !== null && own) request.headers.Authorization ??= `Bearer ${key}`;
    return request;
  },
});
